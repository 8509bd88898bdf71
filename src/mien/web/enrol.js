/** Enrolling: who it is, what they agreed to, and pictures from the camera or from files. */

import { enrol } from "./lib/analysis.js";
import { explain, explainOne, post, query, stopped } from "./lib/api.js";
import { Camera, CameraError } from "./lib/camera.js";
import { openDialog, note } from "./lib/dialog.js";
import { button, field, h, icon, iconButton, pause, put } from "./lib/dom.js";
import { adviceText, dropArea } from "./lib/faces.js";
import { t } from "./lib/i18n.js";
import { showBlob } from "./lib/media.js";
import { refreshGallery, server } from "./lib/server.js";

const PICTURES = 3; // that the camera takes by itself: more than that make little difference
const APART = 900; // milliseconds between them, so that they differ a little

/**
 * What is noted of somebody: name, consent, and how long it is kept; `values()` says it as the server wants it.
 * @param {"self"|"other"} whom changes how it is asked
 */
export function personFields(whom, { name = "" } = {}) {
  const named = h("input", { type: "text", required: true, maxlength: 200, autocomplete: whom === "self" ? "name" : "off", props: { value: name } });
  const agreed = h("input", { type: "checkbox", required: whom === "self" });
  const words = h("textarea", { rows: 3, maxlength: 1000, props: { value: String(t(`consent.${whom}`)) } });
  const days = h("select", null, [["never", t("expires.never")], ["30d", t("expires.month")], ["365d", t("expires.year")]]
    .map(([value, label]) => h("option", { value }, label)));
  const element = h("div", null,
    field(t(`enrol.name.${whom}`), named),
    h("fieldset.consent", null, h("legend", null, t("consent.title")),
      field(t(`consent.words.${whom}`), words, t("consent.hint")),
      h("label.check", null, agreed, h("span", null, t(`consent.agreed.${whom}`)))),
    field(t("expires.label"), days));
  const values = () => ({ name: named.value.trim(), consent: agreed.checked ? words.value.trim() : "", expires: days.value });
  return { element, named, values };
}

/** Pictures of one person: taken by the camera when they are good, or from files. */
export class Pictures {
  constructor(signal, { onchange = () => {} } = {}) {
    this.signal = signal;
    this.onchange = onchange;
    this.taken = [];
    this.area = h("div");
    this.list = h("ul.taken", { "aria-label": t("enrol.taken") });
    this.advice = h("p.advice", { role: "status" });
    this.element = h("div.pictures", null, this.area, this.advice, this.list);
    this.offer();
  }

  offer() {
    put(this.area, dropArea({
      accept: "image/*", multiple: true, symbol: "face", title: t("enrol.pictures"), hint: t("enrol.pictures.hint"),
      choose: t("look.choose"), onfiles: (files) => this.addAll(files),
      first: [button(t("enrol.camera"), () => this.useCamera(), { kind: "primary", symbol: "camera" })],
    }));
  }

  addAll(files) {
    const room = Math.max(0, server.info.limits.pictures - this.taken.length);
    if (files.length > room) note(t("look.many", { n: server.info.limits.pictures }));
    for (const file of files.slice(0, room)) this.add(file);
  }

  add(blob) {
    const image = h("img", { alt: t("enrol.picture", { n: this.taken.length + 1 }) });
    showBlob(image, blob, this.signal);
    image.addEventListener("error", () => image.replaceWith(h("span.no-crop", null, icon("warn"))));
    const item = h("li", null, image, iconButton(t("enrol.drop"), "close", () => {
      this.taken = this.taken.filter((other) => other !== blob);
      item.remove();
      this.onchange(this.taken.length);
    }));
    this.taken.push(blob);
    this.list.append(item);
    this.onchange(this.taken.length);
  }

  async useCamera() {
    const stop = new AbortController();
    this.signal.addEventListener("abort", () => stop.abort());
    const camera = new Camera(stop.signal);
    const end = () => { stop.abort(); put(this.advice); this.offer(); };
    const take = button(t("camera.take"), async () => this.add(await camera.grab()), { symbol: "camera" });
    put(this.area, camera.element, h("div.actions.centred", null, take, button(t("camera.stop"), end, { kind: "quiet" })));
    try {
      await camera.start();
      await this.watch(camera, stop.signal);
      end();
    } catch (error) {
      if (stop.signal.aborted) return;
      end();
      note(error instanceof CameraError ? error.text : explain(error), { bad: true });
    }
  }

  /** Take pictures as soon as the face can be recognised well, and say what is missing until then. */
  async watch(camera, signal) {
    const wanted = this.taken.length + PICTURES;
    while (this.taken.length < wanted) {
      const frame = await camera.grab();
      const { faces } = await post(`/v1/analyze${query({ only: "detect,pose,quality" })}`, { body: frame, signal });
      const missing = missingFor(faces);
      put(this.advice, icon(missing ? "info" : "check"), h("span", null, missing ?? t("enrol.hold")));
      camera.element.classList.toggle("good", !missing);
      if (!missing) this.add(frame);
      await pause(missing ? 250 : APART, signal);
    }
  }
}

/** What keeps a frame from being enrolled; null where nothing does. */
function missingFor(faces) {
  if (faces.length === 0) return t("enrol.nobody");
  if (faces.length > 1) return t("enrol.several");
  const [code] = faces[0].quality?.advice ?? [];
  return code ? t("enrol.please", { advice: adviceText(code) }) : null;
}

/** Enrol somebody, and say what became of their pictures; null where it failed, which is then shown in `refusal`. */
export async function save(pictures, fields, { to = null, refusal, signal }) {
  put(refusal);
  try {
    const told = await enrol(pictures, fields, { to, signal });
    await refreshGallery();
    if (told.enrolled.length || told.skipped.length) return told;
    refuse(refusal, told.failed?.length ? explainOne(told.failed[0].error) : t("enrol.nothing"));
  } catch (error) {
    if (!stopped(error)) refuse(refusal, explain(error));
  }
  return null;
}

function refuse(place, why) {
  put(place, h("p.refusal", { role: "alert" }, icon("warn"), h("span", null, why)));
}

/** What became of pictures, as a note. */
export function tellEnrolled(told) {
  note(t("enrol.done", { name: told.person.name ?? "", n: told.enrolled.length }));
  for (const doubt of told.enrolled.flatMap((one) => one.warnings ?? []).slice(0, 1)) note(t("enrol.doubt", { why: doubt }));
  if (told.skipped.length) note(t("enrol.skipped", { n: told.skipped.length }));
  if (told.failed?.length) note(t("enrol.failed", { n: told.failed.length, why: explainOne(told.failed[0].error) }), { bad: true });
}

/**
 * Enrol in a dialog; resolves with what the server told, or null.
 * @param {{pictures?: Blob[], person?: {id, name}}} given pictures that are there already; whom they are added to
 */
export function enrolDialog({ pictures = null, person = null } = {}) {
  const stop = new AbortController();
  const title = person ? t("enrol.more", { name: person.name ?? "" }) : t("enrol.title");
  return openDialog(title, (close) => {
    const fields = person ? null : personFields("other");
    const source = new Pictures(stop.signal);
    for (const picture of pictures ?? []) source.add(picture);
    const refusal = h("div");
    const submit = async (event) => {
      event.preventDefault();
      if (!source.taken.length) return refuse(refusal, t("enrol.none"));
      sender.disabled = true;
      const told = await save(source.taken, fields?.values() ?? {}, { to: person?.id ?? null, refusal, signal: stop.signal });
      sender.disabled = false;
      if (!told) return;
      tellEnrolled(told);
      close(told);
    };
    const sender = h("button.button.primary", { type: "submit" }, icon("check"), h("span", null, t("enrol.save")));
    return [h("form.enrol", { on: { submit } }, fields?.element ?? null,
      pictures ? source.list : source.element, refusal,
      h("div.actions", null, button(t("cancel"), () => close(null)), sender))];
  }, { wide: true }).finally(() => stop.abort());
}
