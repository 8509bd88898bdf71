/** Elements from code: everything that a user wrote reaches the page as text, never as markup. */

import { Text, bind } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} tag name, with classes behind dots: "p.soft.small"
 * @param {object} [attributes] attributes; also `on` (listeners), `css` (custom properties and styles, through the
 *   CSSOM), `props` (properties). true sets an attribute without a value; false, null and undefined set none
 * @param {...(Node|string|Text|null|Array)} children
 */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(element, name, value);
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false).map(node));
  return element;
}

function setAttribute(element, name, value) {
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  } else if (name === "css") {
    for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
  } else if (name === "props") {
    Object.assign(element, value);
  } else if (name === "class") {
    if (value) element.classList.add(...value.split(" "));
  } else if (value instanceof Text) {
    bind(element, name, value);
  } else if (value !== false && value !== null && value !== undefined) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

function node(child) {
  if (child instanceof Node) return child;
  const text = document.createTextNode("");
  if (child instanceof Text) bind(text, null, child);
  else text.data = String(child);
  return text;
}

/** Put other children into an element. */
export function put(element, ...children) {
  element.replaceChildren();
  return fill(element, [], null, children);
}

/** An icon of the sprite; decoration, so its meaning has to be said by text beside it or by a label. */
export function icon(name) {
  return s("svg.icon", { "aria-hidden": "true", focusable: "false" }, s("use", { href: `/web/icons.svg#${name}` }));
}

let numbers = 0;

/** An id that nothing else on the page has. */
export function newId(what = "id") {
  numbers += 1;
  return `${what}-${numbers}`;
}

/** A button. `kind`: "primary", "quiet", "danger", "plain"; `symbol`: its icon. */
export function button(label, onclick, { kind = "plain", symbol, ...attributes } = {}) {
  const content = [symbol ? icon(symbol) : null, label ? h("span", null, label) : null];
  return h(`button.button.${kind}`, { type: "button", on: { click: onclick }, ...attributes }, ...content);
}

/** A button that shows an icon only; its label is for those who do not see it, and as a tooltip. */
export function iconButton(label, symbol, onclick, attributes = {}) {
  const merged = { type: "button", "aria-label": label, title: label, on: { click: onclick }, ...attributes };
  return h("button.button.icon-only", merged, icon(symbol));
}

/** A labelled field: `control` gets an id, and the hint describes it. */
export function field(label, control, hint = null) {
  control.id ||= newId("field");
  const note = hint ? h("p.hint", { id: `${control.id}-hint` }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div.field", null, h("label", { for: control.id }, label), control, note);
}

/** A switch with its label. */
export function toggle(label, checked, onchange) {
  const input = h("input", { type: "checkbox", role: "switch", props: { checked } });
  input.addEventListener("change", () => onchange(input.checked));
  return h("label.switch", null, input, h("span.track", { "aria-hidden": "true" }), h("span", null, label));
}

/** A bar that shows how far something is; `set(share, text)`, a share of null being unknown. */
export function progressBar(label) {
  const bar = h("div.progress", { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, h("span"));
  const set = (share) => {
    bar.classList.toggle("unknown", share === null);
    if (share === null) bar.removeAttribute("aria-valuenow");
    else {
      bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
      bar.style.setProperty("--share", `${share * 100}%`);
    }
  };
  set(null);
  return { element: bar, set };
}

/** A resolved promise after so many milliseconds; rejected at once when the signal is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
