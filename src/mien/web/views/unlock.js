/** Unlock: a random challenge in front of the camera, judged by the server. */

import { explain, get, post, query, request, upload } from "../lib/api.js";
import { Camera, CameraError } from "../lib/camera.js";
import { attempt } from "../lib/dialog.js";
import { button, field, h, icon, pause, put } from "../lib/dom.js";
import { Text, getLanguage, has, t } from "../lib/i18n.js";
import { readsGallery, server } from "../lib/server.js";

const ACTIONS = ["smile", "open-mouth", "blink", "turn-left", "turn-right"];
const MOST_LEFT_OUT = 2;
const FRAME_EVERY = 80; // milliseconds; the server wants seven new pictures a second at least
const FLYING = { least: 3, most: 5 }; // frames whose answers are awaited; browsers have six connections to a server
const QUALITY = { best: 0.85, least: 0.45, step: 0.03 }; // of JPEGs
const LATE = 1.3; // times FRAME_EVERY: with pictures so far apart, smaller ones are sent

export default function unlock({ signal }) {
  if (!readsGallery()) {
    return h("div.view", null, h("section.empty", null, icon("unlock"),
      h("h1", { tabindex: "-1" }, t("unlock.title")), h("p", null, t(server.info.gallery ? "gallery.closed" : "gallery.none"))));
  }
  return new Unlock(signal).element;
}

/** What the server says in both languages. */
const said = (texts) => new Text(() => texts[getLanguage()] ?? texts.en);

class Unlock {
  constructor(signal) {
    this.signal = signal;
    this.body = h("div");
    this.element = h("div.view.narrow", null,
      h("header.title", null, h("h1", { tabindex: "-1" }, t("unlock.title")), h("p.lead", null, t("unlock.lead"))), this.body);
    this.ask();
  }

  async ask() {
    put(this.body, h("p.busy", null, t("loading")));
    const found = await attempt(() => get(`/v1/gallery/people${query({ limit: 200 })}`, { signal: this.signal }));
    const people = (found?.people ?? []).filter((person) => person.name && person.faces && !person.withdrawn_at);
    if (!people.length) {
      put(this.body, h("section.empty", null, icon("people"), h("p.drop-title", null, t("people.nobody")),
        h("a.button.primary", { href: "#/welcome" }, h("span", null, t("people.first")))));
      return;
    }
    put(this.body, this.form(people));
  }

  form(people) {
    const who = h("select", null, people.map((person) => h("option", { value: person.id }, person.name)));
    if (this.person) who.value = this.person;
    const boxes = ACTIONS.map((action) => h("input", { type: "checkbox", value: action }));
    const limit = () => {
      const full = boxes.filter((box) => box.checked).length >= MOST_LEFT_OUT;
      for (const box of boxes) box.disabled = full && !box.checked;
    };
    const submit = (event) => {
      event.preventDefault();
      this.person = who.value;
      this.start(who.value, who.selectedOptions[0].textContent, boxes.filter((box) => box.checked).map((box) => box.value));
    };
    return h("form.card", { on: { submit } }, field(t("unlock.who"), who),
      h("details", null, h("summary", null, t("unlock.without")), h("p.hint", null, t("unlock.without.hint")),
        h("div.checks", { on: { change: limit } }, boxes.map((box, i) => h("label.check", null, box, h("span", null, t(`action.${ACTIONS[i]}`)))))),
      h("div.actions", null, h("button.button.primary", { type: "submit" }, icon("camera"), h("span", null, t("unlock.start")))));
  }

  async start(person, name, without) {
    const stop = new AbortController();
    this.signal.addEventListener("abort", () => stop.abort());
    const camera = new Camera(stop.signal);
    this.task = h("p.task", { role: "status" }, t("unlock.opening"));
    this.hint = h("p.task-hint", { role: "status" });
    this.dots = h("ol.dots", { "aria-label": t("unlock.progress") });
    const give = button(t("cancel"), () => stop.abort(), { symbol: "close" });
    put(this.body, h("div.challenge", null, this.task, this.hint, camera.element, this.dots, h("div.actions.centred", null, give)));
    give.focus();
    let session = null;
    try {
      await camera.start();
      ({ session } = await post("/v1/liveness", { json: without.length ? { person, without } : { person } }));
      const frames = new Frames(session.id, (said) => this.tell(said), stop.signal);
      this.show(await frames.send(camera), name);
    } catch (error) {
      await this.left(session, error, stop.signal.aborted);
    } finally {
      stop.abort();
    }
  }

  /** What is to be done now, and how far it is. */
  tell({ state, action, hint, step, steps }) {
    change(this.task, action ? said(hint) : t("unlock.rest"));
    change(this.hint, state === "baseline" ? said(hint) : "");
    this.count(step, steps);
  }

  count(step, steps) {
    if (this.dots.childElementCount !== steps) put(this.dots, Array.from({ length: steps }, () => h("li")));
    [...this.dots.children].forEach((dot, i) => dot.classList.toggle("done", i < step));
    this.dots.setAttribute("aria-label", String(t("unlock.step", { n: step, of: steps })));
  }

  async left(session, error, stopped) {
    if (session) await request("DELETE", `/v1/liveness/${encodeURIComponent(session.id)}`).catch(() => null);
    if (this.signal.aborted) return;
    if (stopped) await this.ask();
    else this.refuse(error instanceof CameraError ? error.text : explain(error));
  }

  refuse(text) {
    put(this.body, outcome(false, t("unlock.impossible"), text), this.again());
    this.body.querySelector("h2").focus();
  }

  show({ accepted, reason, step, steps }, name) {
    this.count(step, steps);
    const told = accepted ? outcome(true, t("unlock.yes"), t("greet.welcome", { name })) : outcome(false, t("unlock.no"), refusalOf(reason));
    told.append(this.dots);
    put(this.body, told, this.again());
    this.body.querySelector("h2").focus();
  }

  again() {
    return h("div.actions.centred", null, button(t("unlock.again"), () => this.ask(), { kind: "primary" }));
  }
}

/**
 * The frames of one attempt on their way to the server. Answers are not waited for, so that frames come evenly over slow
 * networks, too; but each is sent whole before the next begins, because their order counts.
 */
class Frames {
  /** @param {(session: object) => void} tell is told how the attempt stands */
  constructor(id, tell, signal) {
    Object.assign(this, { path: `/v1/liveness/${encodeURIComponent(id)}`, tell, signal });
    this.flying = new Set();
    this.told = -1; // number of the frame whose answer was told last
    this.ended = null;
    this.error = null;
    this.quickest = Infinity; // milliseconds of an answer
    this.took = FRAME_EVERY; // milliseconds from frame to frame, on average
    this.quality = QUALITY.best;
  }

  /** Send frames until the attempt is over; the session in the end. */
  async send(camera) {
    for (let n = 0; !this.ended; n += 1) {
      const began = performance.now();
      const due = pause(FRAME_EVERY, this.signal);
      due.catch(() => {}); // it may be stopped while nobody waits for it yet
      const frame = await camera.grab(640, this.quality);
      await Promise.all([due, this.sendOne(n, frame)]);
      while (this.flying.size >= this.mostFlying) await Promise.race(this.flying);
      this.adapt(performance.now() - began);
      if (this.error && !this.ended) return this.ending();
    }
    return this.ended;
  }

  /** As many as are sent while the first of them is answered, if nothing else is slow. */
  get mostFlying() {
    return Math.max(FLYING.least, Math.min(FLYING.most, Math.ceil(this.quickest / FRAME_EVERY) + 1));
  }

  /** Where frames do not come often enough, the way may be too narrow for them. */
  adapt(took) {
    this.took = 0.8 * this.took + 0.2 * took;
    if (this.took > LATE * FRAME_EVERY) this.quality = Math.max(QUALITY.least, this.quality - QUALITY.step);
  }

  /** Resolved when it is on its way. What is answered is told, or ends it all. */
  sendOne(n, frame) {
    const began = performance.now();
    const path = `${this.path}/frames${query({ n })}`;
    return new Promise((sent) => {
      const answered = upload(path, { body: frame, signal: this.signal }, (share) => share === 1 && sent())
        .then(({ session }) => {
          this.quickest = Math.min(this.quickest, performance.now() - began);
          this.answer(session, n);
        }, (error) => { this.error ??= error; })
        .finally(() => { this.flying.delete(answered); sent(); });
      this.flying.add(answered);
    });
  }

  /** Answers overtake each other, too: an older one has nothing to say. */
  answer(session, n) {
    if (session.state === "done") this.ended ??= session;
    if (this.ended || n < this.told) return;
    this.told = n;
    this.tell(session);
  }

  /**
   * How it ended. Frames that come after the end are refused, and such an answer can be here before the one that tells the
   * end: then the server is asked.
   */
  async ending() {
    await Promise.allSettled(this.flying);
    if (this.ended) return this.ended;
    if (this.error.status !== 409) throw this.error;
    const { session } = await get(this.path, { signal: this.signal });
    if (session.state !== "done") throw this.error;
    return session;
  }
}

/** Why nobody was let in, as far as there is something to say. */
const refusalOf = (reason) => t(has(`reason.${reason}`) ? `reason.${reason}` : "unlock.no.text");

/** How it ended. */
function outcome(good, title, text) {
  return h(good ? "section.outcome.good" : "section.outcome", { role: "alert" }, icon(good ? "unlock" : "not"),
    h("h2", { tabindex: "-1" }, title), h("p", null, text));
}

/** Say something new; what has not changed is not read out again. */
function change(element, text) {
  if (element.textContent !== String(text)) put(element, text);
}
