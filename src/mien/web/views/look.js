/** Look: a picture, and what its faces show. */

import { note } from "../lib/dialog.js";
import { button, h, icon, put, toggle } from "../lib/dom.js";
import { explain, stopped } from "../lib/api.js";
import { lookAt } from "../lib/analysis.js";
import { Camera, CameraError } from "../lib/camera.js";
import { enrolDialog } from "../enrol.js";
import {
  attributesNote, cutOut, dropArea, expressionBars, expressionLine, faceButton, qualityNote, thumbnail, titleOf,
} from "../lib/faces.js";
import { sureness, t } from "../lib/i18n.js";
import { decode } from "../lib/media.js";
import { preferences } from "../lib/preferences.js";
import { does, server, writesGallery } from "../lib/server.js";

export default function look({ signal }) {
  return new Look(signal).element;
}

class Look {
  constructor(signal) {
    this.signal = signal;
    this.pictures = [];
    this.body = h("div");
    this.said = h("p.visually-hidden", { role: "status" });
    this.element = h("div.view", null,
      h("header.title", null, h("h1", { tabindex: "-1" }, t("look.title")), h("p.lead", null, t("look.lead"))),
      this.body, this.said, this.options());
    document.addEventListener("paste", (event) => this.paste(event), { signal });
    this.empty();
  }

  empty() {
    put(this.body, dropArea({
      accept: "image/*", multiple: true, symbol: "look",
      title: t("look.drop"), hint: t("look.paste"), choose: t("look.choose"),
      more: [button(t("look.take"), () => this.takePicture(), { symbol: "camera" })],
      onfiles: (files) => this.add(files),
    }));
  }

  options() {
    if (!does("age")) return null;
    const again = (on) => {
      preferences.attributes = on;
      if (this.current) this.analyse(this.current);
    };
    return h("div.options", null, toggle(t("look.attributes"), preferences.attributes, again), h("p.hint", null, t("look.attributes.hint")));
  }

  paste(event) {
    if (document.querySelector("dialog[open]")) return;
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) this.add(files);
  }

  async takePicture() {
    const stop = new AbortController();
    this.signal.addEventListener("abort", () => stop.abort());
    const camera = new Camera(stop.signal);
    const taken = async () => {
      const blob = await camera.grab(1920, 0.92);
      stop.abort();
      this.add([new File([blob], "photo.jpg", { type: "image/jpeg" })]);
    };
    const shutter = button(t("camera.take"), taken, { kind: "primary", symbol: "camera", disabled: true });
    const left = () => { stop.abort(); this.pictures.length ? this.show() : this.empty(); };
    put(this.body, camera.element, h("div.actions.centred", null, shutter, button(t("cancel"), left)));
    try {
      await camera.start();
      shutter.disabled = false;
      shutter.focus();
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      this.empty();
      note(error.text, { bad: true });
    }
  }

  /** Look at pictures one after the other; the first is shown. */
  async add(files) {
    const most = server.info.limits.pictures;
    if (files.length > most) note(t("look.many", { n: most }));
    const added = files.slice(0, most).map((file) => ({ file, state: "waiting" }));
    this.pictures = added;
    this.current = added[0];
    for (const picture of added) {
      if (this.signal.aborted || this.pictures !== added) return;
      await this.analyse(picture);
    }
  }

  async analyse(picture) {
    picture.state = "waiting";
    this.show();
    try {
      picture.bitmap ??= await decode(picture.file).catch(() => null);
      picture.answer = await lookAt(picture.file, this.signal);
      for (const face of picture.answer.faces) if (picture.denied?.has(claimOf(face))) face.identity = { person: null };
      picture.state = "done";
    } catch (error) {
      if (stopped(error)) return;
      Object.assign(picture, { state: "failed", error });
    }
    this.show();
  }

  show() {
    const picture = this.current;
    put(this.body, this.strip(), this.shown(picture));
    if (picture.state === "done") put(this.said, t("look.found", { n: picture.answer.faces.length }));
  }

  strip() {
    if (this.pictures.length < 2) return null;
    return h("ul.strip", { "aria-label": t("look.pictures") }, this.pictures.map((picture) => h("li", null,
      h("button", {
        type: "button", "aria-pressed": String(picture === this.current), class: picture.state,
        on: { click: () => { this.current = picture; this.show(); } },
      }, picture.file.name || t("look.picture")))));
  }

  shown(picture) {
    if (picture.state === "failed") {
      return h("div.column", null, h("section.refusal", { role: "alert" }, icon("warn"), h("p", null, explain(picture.error))), this.another());
    }
    const stage = h("div.stage");
    if (picture.bitmap) this.draw(stage, picture);
    if (picture.state === "waiting") {
      return h("div.looking", null, h("div.column", null, stage, h("p.busy", { role: "status" }, t("look.looking"))));
    }
    const { answer } = picture;
    const cards = answer.faces.map((face, i) => this.card(picture, face, i));
    stage.append(h("div.layer", null, answer.faces.map((face, i) => faceButton(face, i, answer.image, () => point(cards[i])))));
    const list = cards.length ? h("ul.faces", null, cards) : h("div.empty.small", null, icon("face"), h("p", null, t("look.nobody")));
    const title = h("h2", null, t("look.found", { n: cards.length }));
    return h("div.looking", null, h("div.column", null, stage, this.another()), h("div.column", null, title, list));
  }

  another() {
    const again = () => { this.pictures = []; this.current = null; this.empty(); };
    return h("div.actions", null, button(t("look.another"), again, { symbol: "back" }));
  }

  draw(stage, { bitmap }) {
    const scale = Math.min(1, 1600 / Math.max(bitmap.width, bitmap.height));
    const canvas = h("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale), role: "img", "aria-label": t("look.picture") });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    stage.style.setProperty("--ratio", String(bitmap.width / bitmap.height));
    stage.append(canvas);
  }

  card(picture, face, i) {
    const { bitmap } = picture;
    const line = expressionLine(face.expression);
    return h("li.face-card", { tabindex: "-1" },
      h("div.face-head", null, bitmap ? thumbnail(bitmap, face.box) : null,
        h("div", null, h("h3", null, titleOf(face, i)), line ? h("p.soft", null, line) : null, certainty(face.identity))),
      face.expression ? expressionBars(face.expression) : null,
      attributesNote(face), qualityNote(face.quality),
      bitmap ? this.actions(picture, face) : null);
  }

  actions(picture, face) {
    if (!writesGallery()) return null;
    const person = face.identity?.id ? face.identity : null;
    return h("div.actions", null,
      person ? button(t("face.not"), () => this.deny(picture, face), { symbol: "not", kind: "quiet" }) : null,
      button(person ? t("face.more", { name: person.person ?? "" }) : t("face.enrol"), () => this.enrol(picture, face), { symbol: "plus", kind: "quiet" }));
  }

  async enrol(picture, face) {
    const cut = await cutOut(picture.bitmap, face.box);
    const person = face.identity?.id ? { id: face.identity.id, name: face.identity.person } : null;
    if (await enrolDialog({ pictures: [cut], person })) await this.analyse(picture);
  }

  /** Forget a name for this picture. Nothing is kept of a face that nobody enrolled: mien remembers who it is once it is enrolled. */
  deny(picture, face) {
    const { identity } = face;
    const claim = claimOf(face);
    (picture.denied ??= new Set()).add(claim);
    this.call(picture, face, { person: null });
    const undo = () => { picture.denied.delete(claim); this.call(picture, face, identity); };
    note(t("face.not.here", { name: identity.person ?? "" }), { action: { label: t("undo"), run: undo } });
  }

  /** Show a face as somebody else; reading goes on at its card. */
  call(picture, face, identity) {
    face.identity = identity;
    if (this.current !== picture) return;
    this.show();
    this.body.querySelectorAll(".face-card")[picture.answer.faces.indexOf(face)]?.focus({ preventScroll: true });
  }
}

/** Who a face was said to be: the same for the same face of the same picture. */
const claimOf = ({ box, identity }) => `${identity?.id} ${box}`;

/** How sure an identification is. */
function certainty(identity) {
  if (!identity || identity.probability === undefined) return null;
  return h("p.soft.small", null, t(identity.person ? "face.sure" : "face.sure.unknown", { share: sureness(identity.probability) }));
}

function point(card) {
  for (const other of card.parentElement.children) other.classList.toggle("pointed", other === card);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  card.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  card.focus({ preventScroll: true });
}
