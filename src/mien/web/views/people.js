/** People: everybody the gallery knows, and one of them. */

import { get, post, query, request, stopped } from "../lib/api.js";
import { attempt, confirm, note, openDialog, prompt, tell } from "../lib/dialog.js";
import { button, field, h, icon, iconButton, newId, pause, put } from "../lib/dom.js";
import { monogram } from "../lib/faces.js";
import { Text, day, t } from "../lib/i18n.js";
import { serverImage } from "../lib/media.js";
import { can, readsGallery, refreshGallery, server, writesGallery } from "../lib/server.js";
import { enrolDialog } from "../enrol.js";

const PAGE = 60;
const path = (id, more = "") => `/v1/gallery/people/${encodeURIComponent(id)}${more}`;
const nameOf = (person) => person.name ?? t("person.unnamed");

export default function people({ signal, rest: [id] }) {
  if (!readsGallery()) {
    return h("div.view", null, h("section.empty", null, icon("people"),
      h("h1", { tabindex: "-1" }, t("people.none.title")), h("p", null, t(server.info.gallery ? "gallery.closed" : "gallery.none"))));
  }
  return id ? onePerson(id, signal) : new People(signal).element;
}

/** Take back the last change of the gallery, where that is allowed. */
const undoing = (after) => (can("admin") ? { label: t("undo"), run: () => undo(after) } : null);

async function undo(after) {
  const done = await attempt(() => post("/v1/gallery/undo"));
  if (!done) return;
  note(t("undo.done"));
  await refreshGallery();
  await after();
}

class People {
  constructor(signal) {
    this.signal = signal;
    this.list = h("ul.people", { "aria-busy": "true" });
    this.more = h("div.actions.centred");
    this.loose = h("div");
    this.said = h("p.visually-hidden", { role: "status" });
    this.search = h("input", { type: "search", placeholder: t("people.search"), "aria-label": t("people.search"), autocomplete: "off" });
    this.search.addEventListener("input", () => this.find());
    this.element = h("div.view", null,
      h("header.title.with-actions", null,
        h("div", null, h("h1", { tabindex: "-1" }, t("people.title")), h("p.lead", null, new Text(() => String(t("people.lead", { n: server.gallery.people }))))),
        h("div.actions", null,
          can("admin") ? button(t("undo.last"), () => undo(() => this.reload()), { symbol: "undo", kind: "quiet" }) : null,
          writesGallery() ? button(t("people.enrol"), () => this.enrol(), { symbol: "plus", kind: "primary" }) : null)),
      h("div.search", { role: "search" }, icon("search"), this.search), this.said, this.list, this.more, this.loose);
    this.load();
    this.loadLoose();
  }

  async enrol() {
    if (await enrolDialog()) await this.load();
  }

  /** Wait until somebody has finished typing. */
  async find() {
    this.typing?.abort();
    const typing = (this.typing = new AbortController());
    try {
      await pause(200, typing.signal);
      await this.load();
    } catch (error) {
      if (!stopped(error)) tell(error);
    }
  }

  async load(after = null) {
    const name = this.search.value.trim();
    const found = await attempt(() => get(`/v1/gallery/people${query({ after, limit: PAGE, name })}`, { signal: this.signal }));
    if (!found) return;
    this.list.removeAttribute("aria-busy");
    const cards = found.people.map((person) => personCard(person, this.signal));
    if (after) this.list.append(...cards);
    else put(this.list, cards.length ? cards : this.nobody(name));
    put(this.more, found.next ? button(t("people.more"), () => this.load(found.next)) : null);
    if (name) put(this.said, t("people.found", { n: found.people.length }));
  }

  nobody(name) {
    if (name) return h("li.empty.small", null, icon("search"), h("p", null, t("people.nobody.found")));
    return h("li.empty", null, icon("people"), h("p.drop-title", null, t("people.nobody")), h("p.soft", null, t("people.nobody.hint")),
      writesGallery() ? h("a.button.primary", { href: "#/welcome" }, h("span", null, t("people.first"))) : null);
  }

  /** Faces that belong to nobody: what was taken from somebody, or imported without a name. */
  async loadLoose() {
    if (!server.gallery.unassigned) return;
    const found = await attempt(() => get(`/v1/gallery/unassigned${query({ limit: PAGE })}`, { signal: this.signal }));
    if (!found?.faces.length) return;
    put(this.loose, h("section", null, h("h2", null, t("people.loose", { n: server.gallery.unassigned })), h("p.soft", null, t("people.loose.hint")),
      h("ul.crops", null, found.faces.map((face) => h("li", null, cropOf(face, this.signal),
        writesGallery() ? h("div.crop-actions", null,
          iconButton(t("face.move"), "merge", () => moveFace(face, () => this.reload())),
          iconButton(t("face.remove"), "trash", () => removeFace(face, () => this.reload()))) : null)))));
  }

  async reload() {
    await refreshGallery();
    put(this.loose);
    await Promise.all([this.load(), this.loadLoose()]);
  }
}

function personCard(person, signal) {
  return h("li", null, h("a.person", { href: `#/people/${person.id}` },
    avatar(person, signal),
    h("span", null, h("strong", null, nameOf(person)), h("span.soft.small", null, t("person.faces", { n: person.faces })), badges(person))));
}

/** A picture of somebody: their first kept crop, or the letters of their name. */
function avatar(person, signal) {
  const place = h("span.avatar", null, monogram(person.name));
  if (server.gallery.gallery.keeps_crops && person.faces) {
    get(path(person.id), { signal }).then(({ faces }) => {
      const kept = faces.find((face) => face.has_crop);
      if (kept) put(place, serverImage(`/v1/gallery/faces/${kept.id}/crop`, "", signal, monogram(person.name)));
    }).catch(() => {}); // the letters stay
  }
  return place;
}

function badges(person) {
  const state = person.consent ? ["on", t("consent.given")] : person.withdrawn_at ? ["bad", t("consent.withdrawn")] : null;
  return h("span.badges", null,
    state ? h(`span.badge.${state[0]}`, null, state[1]) : null,
    person.expires ? h("span.badge", null, t("expires.on", { day: day(person.expires) })) : null);
}

/** A kept crop of a face, or a drawing where none is kept. */
function cropOf(face, signal) {
  const fallback = h("span.no-crop", { role: "img", "aria-label": t("face.number", { n: face.id }) }, icon("face"));
  return face.has_crop ? serverImage(`/v1/gallery/faces/${face.id}/crop`, t("face.number", { n: face.id }), signal, fallback) : fallback;
}

async function onePerson(id, signal) {
  const { person, faces } = await get(path(id), { signal });
  return new OnePerson(person, faces, signal).element;
}

class OnePerson {
  constructor(person, faces, signal) {
    Object.assign(this, { person, faces, signal });
    this.element = h("div.view");
    this.show();
  }

  async reload() {
    const told = await attempt(() => get(path(this.person.id), { signal: this.signal }));
    if (!told) return this.leave();
    Object.assign(this, told);
    return this.show();
  }

  leave() {
    location.hash = "#/people";
  }

  show() {
    const { person, faces } = this;
    put(this.element,
      h("p", null, h("a.back", { href: "#/people" }, icon("back"), h("span", null, t("people.title")))),
      h("header.title.with-actions", null,
        h("div.person-head", null, avatar(person, this.signal),
          h("div", null, h("h1", { tabindex: "-1" }, nameOf(person)), h("p.lead", null, t("person.since", { day: day(person.created) })))),
        writesGallery() ? this.actions() : null),
      h("section.card", null, h("h2", null, t("consent.title")), this.consent()),
      h("section", null, h("h2", null, t("person.faces", { n: faces.length })),
        faces.some((face) => !face.has_crop) ? h("p.soft", null, t("person.nocrops")) : null,
        h("ul.crops", null, faces.map((face) => this.face(face)))));
  }

  actions() {
    const { person } = this;
    return h("div.actions", null,
      button(t("person.add"), () => this.add(), { symbol: "plus", kind: "primary" }),
      button(t("person.rename"), () => this.rename(), { symbol: "edit" }),
      button(t("person.merge"), () => this.merge(), { symbol: "merge" }),
      button(t("person.delete"), () => this.remove(), { symbol: "trash", kind: "danger", "aria-label": t("person.delete.who", { name: person.name ?? "" }) }));
  }

  consent() {
    const { person } = this;
    return h("div.stack", null,
      person.consent ? h("blockquote", null, person.consent) : h("p.soft", null, t(person.withdrawn_at ? "consent.none.withdrawn" : "consent.none")),
      h("p.badges", null, badges(person)),
      writesGallery() ? h("div.actions", null, button(t("consent.edit"), () => this.edit(), { symbol: "edit", kind: "quiet" })) : null);
  }

  face(face) {
    const again = async () => { await refreshGallery(); await this.reload(); };
    return h("li", null, cropOf(face, this.signal), h("span.small.soft", null, day(face.created)),
      writesGallery() ? h("div.crop-actions", null,
        iconButton(t("face.not"), "not", () => this.deny(face)),
        iconButton(t("face.move"), "merge", () => moveFace(face, again)),
        iconButton(t("face.remove"), "trash", () => removeFace(face, again))) : null);
  }

  async add() {
    if (await enrolDialog({ person: this.person })) await this.reload();
  }

  async change(fields, said) {
    const told = await attempt(() => request("PATCH", path(this.person.id), { json: fields }));
    if (!told) return;
    note(said, { action: undoing(() => this.reload()) });
    await this.reload();
  }

  async rename() {
    const name = await prompt(t("person.rename"), t("enrol.name.other"), this.person.name ?? "", t("save"));
    if (name && name !== this.person.name) await this.change({ name }, t("person.renamed", { name }));
  }

  async edit() {
    const fields = await consentDialog(this.person);
    if (fields) await this.change(fields, t("consent.saved"));
  }

  async merge() {
    const into = await choosePerson(t("person.merge"), t("person.merge.text", { name: this.person.name ?? "" }), this.person.id, t("person.merge"));
    if (!into) return;
    const told = await attempt(() => post(path(this.person.id, "/merge"), { json: { into: into.id } }));
    if (!told) return;
    await refreshGallery();
    note(t("person.merged", { name: into.name ?? "" }), { action: undoing(() => { location.hash = "#/people"; }) });
    location.hash = `#/people/${into.id}`;
  }

  async remove() {
    const name = this.person.name ?? "";
    if (!(await confirm(t("person.delete.title", { name }), t("person.delete.text"), t("person.delete")))) return;
    const done = await attempt(async () => { await request("DELETE", path(this.person.id)); return true; });
    if (!done) return;
    await refreshGallery();
    note(t("person.deleted", { name }));
    this.leave();
  }

  async deny(face) {
    const name = this.person.name ?? "";
    if (!(await confirm(t("face.not"), t("face.not.text", { name }), t("face.not.do")))) return;
    const done = await attempt(async () => { await post(path(this.person.id, "/forbid"), { json: { face: face.id } }); return true; });
    if (!done) return;
    await refreshGallery();
    note(t("face.not.done", { name }), { action: undoing(() => this.reload()) });
    await this.reload();
  }
}

async function moveFace(face, after) {
  const to = await choosePerson(t("face.move"), t("face.move.text"), face.person, t("face.move"));
  if (!to) return;
  const done = await attempt(async () => { await post(`/v1/gallery/faces/${face.id}/move`, { json: { to: to.id } }); return true; });
  if (!done) return;
  note(t("face.moved", { name: to.name ?? "" }), { action: undoing(after) });
  await after();
}

async function removeFace(face, after) {
  if (!(await confirm(t("face.remove"), t("face.remove.text"), t("face.remove")))) return;
  const done = await attempt(async () => { await request("DELETE", `/v1/gallery/faces/${face.id}`); return true; });
  if (!done) return;
  note(t("face.removed"));
  await after();
}

/** Somebody of the gallery, found by name; null where nobody was chosen. */
function choosePerson(title, text, except, action) {
  return openDialog(title, (close) => {
    const options = h("datalist", { id: newId("people") });
    const input = h("input", { type: "text", required: true, autocomplete: "off", list: options.id, autofocus: true });
    const known = new Map();
    const refusal = h("p.hint", { role: "alert" });
    const find = async () => {
      const found = await attempt(() => get(`/v1/gallery/people${query({ limit: 50, name: input.value.trim() })}`));
      for (const person of found?.people ?? []) if (person.id !== except && person.name) known.set(person.name, person);
      put(options, [...known.keys()].map((name) => h("option", { value: name })));
    };
    input.addEventListener("input", find);
    find();
    const submit = async (event) => {
      event.preventDefault();
      await find();
      const person = known.get(input.value.trim());
      if (person) close(person);
      else put(refusal, t("people.nobody.found"));
    };
    return [h("p", null, text), h("form", { on: { submit } }, field(t("enrol.name.other"), input), options, refusal,
      h("div.actions", null, button(t("cancel"), () => close(null)),
        h("button.button.primary", { type: "submit" }, h("span", null, action))))];
  });
}

/** What is noted of consent and expiry, to be changed; null where it was left. */
function consentDialog(person) {
  return openDialog(t("consent.edit"), (close) => {
    const words = h("textarea", { rows: 4, maxlength: 1000, props: { value: person.consent ?? "" } });
    const until = h("input", { type: "date", props: { value: person.expires?.slice(0, 10) ?? "" } });
    const submit = (event) => {
      event.preventDefault();
      const expires = until.value || null;
      const fields = expires === (person.expires?.slice(0, 10) ?? null) ? {} : { expires };
      const consent = words.value.trim() || null;
      close(consent === person.consent ? fields : { ...fields, consent });
    };
    return [h("form", { on: { submit } }, field(t("consent.words.other"), words, t("consent.edit.hint")), field(t("expires.date"), until, t("expires.date.hint")),
      h("div.actions", null, button(t("cancel"), () => close(null)),
        h("button.button.primary", { type: "submit" }, h("span", null, t("save")))))];
  }).then((fields) => (fields && Object.keys(fields).length ? fields : null));
}
