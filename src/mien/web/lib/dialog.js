/** Dialogs that ask, and notes that pass. */

import { Text, t } from "./i18n.js";
import { button, h, iconButton, newId, put } from "./dom.js";
import { Problem, Unreachable, explain, stopped } from "./api.js";

/**
 * A modal dialog; resolves with what `close(value)` was given, or null where it was left.
 * @param {Text} title
 * @param {(close: (value) => void) => Array} content makes what is in it
 */
export function openDialog(title, content, { wide = false } = {}) {
  return new Promise((resolve) => {
    const id = newId("dialog");
    const dialog = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": id });
    let answer = null;
    const close = (value) => {
      answer = value;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    const head = h("header", null, h("h2", { id }, title), iconButton(t("close"), "close", () => close(null)));
    put(dialog, head, ...content(close));
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
  });
}

/** Ask before something that cannot be taken back; true where it is to be done. */
export async function confirm(title, text, action) {
  return (await openDialog(title, (close) => [
    h("p", null, text),
    h("div.actions", null,
      button(t("cancel"), () => close(false), { autofocus: true }),
      button(action, () => close(true), { kind: "danger" })),
  ])) === true;
}

/** Ask for one line of text; null where it was left. */
export function prompt(title, label, value, action) {
  return openDialog(title, (close) => {
    const input = h("input", { type: "text", required: true, maxlength: 200, autocomplete: "off", autofocus: true, props: { value } });
    const id = newId("field");
    input.id = id;
    const submit = (event) => {
      event.preventDefault();
      if (input.value.trim()) close(input.value.trim());
    };
    return [h("form", { on: { submit } },
      h("div.field", null, h("label", { for: id }, label), input),
      h("div.actions", null,
        button(t("cancel"), () => close(null)),
        h("button.button.primary", { type: "submit" }, h("span", null, action))))];
  });
}

const LASTS = 5000; // milliseconds; twice as long where there is something to press
let shelf = null;

/** Where notes appear: read out as they come. */
export function notesShelf() {
  shelf = h("div.notes", { role: "status", "aria-live": "polite" });
  return shelf;
}

/** A note that passes; `action` is a button in it: {label, run}. */
export function note(text, { bad = false, action = null } = {}) {
  const remove = () => item.remove();
  for (const older of shelf.querySelectorAll(".note:has(.quiet)")) older.remove(); // its "undo" would take back what came after it
  const item = h(bad ? "div.note.bad" : "div.note", null,
    h("span", null, text),
    action ? button(action.label, () => { remove(); action.run(); }, { kind: "quiet" }) : null,
    iconButton(t("close"), "close", remove));
  shelf.append(item);
  if (shelf.children.length > 3) shelf.firstChild.remove();
  if (!bad) setTimeout(remove, action ? 2 * LASTS : LASTS);
}

/** Do something, and tell what went wrong; undefined then. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!stopped(error)) tell(error);
    return undefined;
  }
}

/** Tell an error as a note. */
export function tell(error) {
  if (!(error instanceof Text || error instanceof Problem || error instanceof Unreachable)) console.error(error);
  note(error instanceof Text ? error : explain(error), { bad: true });
}
