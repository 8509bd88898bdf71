/** Welcome: the first visitor enrols themselves, and is greeted by name. */

import { identify } from "../lib/analysis.js";
import { explain } from "../lib/api.js";
import { Camera, CameraError } from "../lib/camera.js";
import { tell } from "../lib/dialog.js";
import { button, h, icon, pause, put } from "../lib/dom.js";
import { faceFrame, monogram, thumbnail } from "../lib/faces.js";
import { t } from "../lib/i18n.js";
import { recognises, server, writesGallery } from "../lib/server.js";
import { Pictures, personFields, save } from "../enrol.js";

export default function welcome({ signal }) {
  return writesGallery() ? new Welcome(signal).element : nothingToDo();
}

function nothingToDo() {
  return h("div.view", null, h("section.empty", null, icon("people"),
    h("h1", { tabindex: "-1" }, t("people.none.title")), h("p", null, t("gallery.none"))));
}

class Welcome {
  constructor(signal) {
    this.signal = signal;
    this.panel = h("div");
    this.element = h("div.view.narrow", null, this.panel);
    this.begin();
  }

  /** Show a step; reading goes on at its title. */
  step(n, title, lead, ...content) {
    const dots = n ? h("p.steps", null, h("span", null, t("welcome.step", { n, of: 2 }))) : null;
    const heading = h("h1", { tabindex: "-1" }, title);
    put(this.panel, h("header.title", null, dots, heading, lead ? h("p.lead", null, lead) : null), content);
    if (n) heading.focus();
  }

  begin() {
    this.step(0, t("welcome.title"), t(server.gallery.people ? "welcome.lead.more" : "welcome.lead"),
      h("ul.promises", null, ["local", "yours", "leave"].map((name) => h("li", null, icon("check"), h("span", null, t(`welcome.promise.${name}`))))),
      h("div.actions", null, button(t("welcome.begin"), () => this.who(), { kind: "primary" }),
        h("a.button.quiet", { href: "#/look" }, h("span", null, t("welcome.later")))));
  }

  who() {
    const fields = personFields("self", this.fields ?? {});
    const submit = (event) => {
      event.preventDefault();
      this.fields = fields.values();
      this.show();
    };
    this.step(1, t("welcome.who"), null, h("form.enrol", { on: { submit } }, fields.element,
      h("div.actions", null, button(t("back"), () => this.begin(), { symbol: "back" }),
        h("button.button.primary", { type: "submit" }, h("span", null, t("next"))))));
    fields.named.focus();
  }

  show() {
    const refusal = h("div");
    const done = button(t("welcome.save"), async () => {
      done.disabled = true;
      const told = await save(source.taken, this.fields, { refusal, signal: this.signal });
      done.disabled = source.taken.length === 0;
      if (told) this.greet(told.person);
    }, { kind: "primary", symbol: "check", disabled: true });
    const source = new Pictures(this.signal, { onchange: (n) => { done.disabled = n === 0; } });
    this.step(2, t("welcome.pictures", { name: this.fields.name }), t("welcome.pictures.lead"), source.element, refusal,
      h("div.actions", null, button(t("back"), () => this.who(), { symbol: "back" }), done));
  }

  /** Open the camera, and greet whom it sees. */
  async greet(person) {
    if (!recognises()) return this.hello(person, null);
    const stop = new AbortController();
    this.signal.addEventListener("abort", () => stop.abort());
    const camera = new Camera(stop.signal);
    const said = h("p.lead", { role: "status" }, t("greet.look"));
    this.step(0, t("greet.enrolled", { name: person.name }), null, said, camera.element,
      h("div.actions.centred", null, button(t("greet.skip"), () => { stop.abort(); this.hello(person, null); }, { kind: "quiet" })));
    this.panel.querySelector("h1").focus();
    try {
      await camera.start();
      const seen = await this.recognised(camera, person, stop.signal);
      stop.abort();
      this.hello(person, seen);
    } catch (error) {
      if (stop.signal.aborted) return;
      stop.abort();
      if (!(error instanceof CameraError)) tell(error);
      put(said, error instanceof CameraError ? error.text : explain(error));
    }
  }

  /** The face of the person, as soon as the camera shows it. */
  async recognised(camera, person, signal) {
    for (;;) {
      const { faces, image } = await identify(await camera.grab(960), signal);
      put(camera.layer, faces.map((face) => faceFrame(face, image, camera.mirrored, face.identity?.person ?? null)));
      const known = faces.find((face) => face.identity?.id === person.id);
      if (known) return thumbnail(camera.canvas, known.box, 208);
      await pause(300, signal);
    }
  }

  hello(person, seen) {
    const picture = h("div.portrait", null, seen ?? monogram(person.name));
    this.step(0, t(seen ? "greet.hello" : "greet.welcome", { name: person.name }), t(seen ? "greet.recognised" : "greet.known"),
      h("div.actions", null,
        h("a.button.primary", { href: "#/live" }, icon("live"), h("span", null, t("greet.live"))),
        h("a.button", { href: "#/look" }, icon("look"), h("span", null, t("greet.picture"))),
        h("a.button.quiet", { href: `#/people/${person.id}` }, h("span", null, t("greet.people")))));
    this.panel.prepend(picture);
    this.panel.querySelector("h1").focus();
  }
}
