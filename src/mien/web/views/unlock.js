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
const MOST_FLYING = 3; // frames whose answers are awaited

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
    this.told = -1; // number of the frame whose answer is shown
    const give = button(t("cancel"), () => stop.abort(), { symbol: "close" });
    put(this.body, h("div.challenge", null, this.task, this.hint, camera.element, this.dots, h("div.actions.centred", null, give)));
    give.focus();
    let session = null;
    try {
      await camera.start();
      ({ session } = await post("/v1/liveness", { json: without.length ? { person, without } : { person } }));
      this.show(await this.answer(camera, session, stop.signal), name);
    } catch (error) {
      await this.left(session, error, stop.signal.aborted);
    } finally {
      stop.abort();
    }
  }

  /**
   * Send frames until the attempt is over. Answers are not waited for, so that frames come evenly over slow networks, too;
   * but each is sent whole before the next begins, because their order counts.
   */
  async answer(camera, { id }, signal) {
    const flying = new Set();
    const end = { session: null, error: null };
    for (let n = 0; !end.session; n += 1) {
      const due = pause(FRAME_EVERY, signal);
      due.catch(() => {}); // it may be stopped while nobody waits for it yet
      const frame = await camera.grab(640, 0.85);
      const path = `/v1/liveness/${encodeURIComponent(id)}/frames${query({ n })}`;
      await Promise.all([due, this.send(path, n, frame, flying, end, signal)]);
      while (flying.size >= MOST_FLYING) await Promise.race(flying);
      if (end.error && !end.session) return this.ending(id, flying, end, signal);
    }
    return end.session;
  }

  /**
   * How it ended. Frames that come after the end are refused, and such an answer can be here before the one that tells the
   * end: then the server is asked.
   */
  async ending(id, flying, end, signal) {
    await Promise.allSettled(flying);
    if (end.session) return end.session;
    if (end.error.status !== 409) throw end.error;
    const { session } = await get(`/v1/liveness/${encodeURIComponent(id)}`, { signal });
    if (session.state !== "done") throw end.error;
    return session;
  }

  /** Send one frame; resolved when it is on its way. What is answered is told, or ends it all. */
  send(path, n, frame, flying, end, signal) {
    return new Promise((sent) => {
      const answered = upload(path, { body: frame, signal }, (share) => share === 1 && sent())
        .then(({ session }) => {
          if (session.state === "done") end.session ??= session;
          else if (!end.session) this.tell(session, n);
        }, (error) => { end.error ??= error; })
        .finally(() => { flying.delete(answered); sent(); });
      flying.add(answered);
    });
  }

  /** What is to be done now, and how far it is. Answers overtake each other, too: an older one has nothing to say. */
  tell({ state, action, hint, step, steps }, n) {
    if (n < this.told) return;
    this.told = n;
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
    const key = `reason.${reason}`;
    const refusal = has(key) ? t(key) : t("unlock.no.text");
    const told = accepted ? outcome(true, t("unlock.yes"), t("greet.welcome", { name })) : outcome(false, t("unlock.no"), refusal);
    told.append(this.dots);
    put(this.body, told, this.again());
    this.body.querySelector("h2").focus();
  }

  again() {
    return h("div.actions.centred", null, button(t("unlock.again"), () => this.ask(), { kind: "primary" }));
  }
}

/** How it ended. */
export function outcome(good, title, text) {
  return h(good ? "section.outcome.good" : "section.outcome", { role: "alert" }, icon(good ? "unlock" : "not"),
    h("h2", { tabindex: "-1" }, title), h("p", null, text));
}

/** Say something new; what has not changed is not read out again. */
function change(element, text) {
  if (element.textContent !== String(text)) put(element, text);
}
