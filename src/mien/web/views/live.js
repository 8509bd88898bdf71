/** Live: who the camera sees, what they show, and how that changes. */

import { CameraError, Camera } from "../lib/camera.js";
import { Chart } from "../lib/chart.js";
import { note } from "../lib/dialog.js";
import { button, h, icon, put } from "../lib/dom.js";
import { expressionLine, faceFrame, legend } from "../lib/faces.js";
import { joined, t } from "../lib/i18n.js";
import { Stream } from "../lib/stream.js";
import { recognises } from "../lib/server.js";

const SAID_EVERY = 4000; // milliseconds between what is read out: faces change faster than anybody speaks
const WIDTH = 800; // of frames that are sent, in pixels

export default function live({ signal }) {
  return new Live(signal).element;
}

class Live {
  constructor(signal) {
    this.signal = signal;
    this.camera = new Camera(signal);
    this.said = h("p.visually-hidden", { role: "status" });
    this.greeting = h("p.greeting", { "aria-hidden": "true" });
    this.switch = h("div.actions.centred");
    this.chart = new Chart(signal);
    this.faces = h("ul.live-faces");
    this.area = h("div");
    this.lastSaid = 0;
    this.element = h("div.view", null,
      h("header.title", null, h("h1", { tabindex: "-1" }, t("live.title")), h("p.lead", null, t("live.lead"))),
      this.area, this.said);
    this.off();
  }

  off() {
    this.running?.abort();
    this.camera.stop();
    put(this.area, h("section.empty", null, icon("live"), h("p.drop-title", null, t("live.off")), h("p.soft", null, t("live.off.hint")),
      button(t("live.start"), () => this.on(), { kind: "primary", symbol: "camera" })));
  }

  async on() {
    put(this.area, h("div.looking", null,
      h("div.column", null, this.camera.element, this.greeting, this.switch),
      h("div.column", null, this.faces, h("section.card", null, h("h2", null, t("live.chart")), this.chart.element, legend()))));
    put(this.switch, button(t("live.stop"), () => this.off(), { symbol: "stop" }));
    this.chart.clear();
    put(this.faces, h("li.soft", null, t("live.waiting")));
    const running = (this.running = new AbortController());
    this.signal.addEventListener("abort", () => running.abort());
    try {
      await this.camera.start();
      this.switch.querySelector("button").focus();
      await this.follow(running.signal);
    } catch (error) {
      if (running.signal.aborted) return;
      this.off();
      note(error instanceof CameraError ? error.text : t("live.broken"), { bad: true });
    }
  }

  /** One frame is under way at a time, so that what is shown is never older than an answer takes. */
  async follow(signal) {
    const stream = new Stream({ only: ["detect", "pose", "expression"], identify: recognises() }, signal);
    await stream.ready();
    while (!signal.aborted) {
      const answer = await stream.ask(await this.camera.grab(WIDTH, 0.8));
      if (answer.type === "faces") this.show(answer);
    }
  }

  show({ faces, image }) {
    const { mirrored, layer } = this.camera;
    put(layer, faces.map((face) => faceFrame(face, image, mirrored, face.identity?.person ?? null)));
    put(this.faces, faces.length ? faces.map((face, i) => card(face, i)) : h("li.soft", null, t("live.nobody")));
    const main = largest(faces);
    this.chart.add(main?.smoothed?.scores ?? null);
    const names = faces.map((face) => face.identity?.person).filter(Boolean);
    put(this.greeting, names.length ? t("live.hello", { names: joined(names, t("comma")) }) : "");
    this.say(faces, names);
  }

  say(faces, names) {
    const now = performance.now();
    if (now - this.lastSaid < SAID_EVERY) return;
    this.lastSaid = now;
    const main = largest(faces);
    const parts = [names.length ? t("live.hello", { names: joined(names, t("comma")) }) : t("look.found", { n: faces.length })];
    if (main?.smoothed) parts.push(expressionLine(main.smoothed));
    const text = joined(parts);
    if (String(text) !== this.said.textContent) put(this.said, text);
  }
}

function card(face, i) {
  const name = face.identity?.person ?? t("face.number", { n: face.track ?? i + 1 });
  return h("li", null, h("strong", null, name), " ", h("span.soft", null, expressionLine(face.smoothed ?? face.expression)));
}

function largest(faces) {
  const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  return faces.reduce((best, face) => (best && area(best) >= area(face) ? best : face), null);
}
