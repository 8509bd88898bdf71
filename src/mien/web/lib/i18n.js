/** Texts in two languages. What is shown is bound to its node, so that another language needs no other page. */

import en from "../texts/en.js";
import zh from "../texts/zh.js";
import { preferences } from "./preferences.js";

export const LANGUAGES = { en: "English", zh: "中文" };
const TEXTS = { en, zh };
const TAGS = { en: region("en") ?? "en", zh: region("zh") ?? "zh-CN" };
const BOUND = Symbol("texts");
const listeners = new Set();
let language = chosen();

/** How the reader's own region writes a language: 21 Nov, or Nov 21. */
function region(name) {
  return navigator.languages?.find((tag) => tag.toLowerCase().startsWith(`${name}-`));
}

function chosen() {
  const kept = preferences.language;
  if (kept in TEXTS) return kept;
  const wanted = navigator.languages?.length ? navigator.languages : [navigator.language ?? "en"];
  for (const tag of wanted) {
    const name = tag.toLowerCase().split("-")[0];
    if (name in TEXTS) return name;
  }
  return "en";
}

/** A text that is made when it is shown: in the language of that moment. */
export class Text {
  constructor(make) {
    this.toString = make;
  }
}

/** The text of a key; values in braces are taken from `values`. A text of two forms goes by `values.n`. */
export function t(key, values = {}) {
  return new Text(() => {
    let text = TEXTS[language][key];
    if (text === undefined) throw new Error(`no text for ${key}`);
    if (typeof text !== "string") text = text[new Intl.PluralRules(TAGS[language]).select(values.n)] ?? text.other;
    return text.replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));
  });
}

/** Whether there is a text for a key. */
export const has = (key) => key in en;

/** Several texts, one behind the other. */
export const joined = (parts, separator = " ") => new Text(() => parts.map(shown).join(shown(separator)));

const shown = (value) => (typeof value === "number" ? value.toLocaleString(TAGS[language]) : String(value));

/** A share as whole percent. */
export const percent = (share) => new Text(() => {
  return new Intl.NumberFormat(TAGS[language], { style: "percent", maximumFractionDigits: 0 }).format(share);
});

/** How sure something is: never more than there is reason to be. */
export const sureness = (share) => (share > 0.99 ? new Text(() => `>${percent(0.99)}`) : percent(share));

/** A number with so many decimals. */
export const number = (value, digits = 0) => new Text(() => {
  return value.toLocaleString(TAGS[language], { minimumFractionDigits: digits, maximumFractionDigits: digits });
});

/** A day, from ISO 8601. */
export const day = (iso) => new Text(() => new Intl.DateTimeFormat(TAGS[language], { dateStyle: "medium" }).format(new Date(iso)));

/** Bytes, in units that people read. */
export const bytes = (size) => new Text(() => {
  const [unit, divisor] = size < 1e6 ? ["kilobyte", 1e3] : size < 1e9 ? ["megabyte", 1e6] : ["gigabyte", 1e9];
  const digits = size / divisor < 10 ? 1 : 0;
  return new Intl.NumberFormat(TAGS[language], { style: "unit", unit, maximumFractionDigits: digits }).format(size / divisor);
});

/** Show a text in a node and keep it right: as the text of a text node, or as an attribute of an element. */
export function bind(node, attribute, text) {
  node[BOUND] ??= new Map();
  node[BOUND].set(attribute, text);
  show(node, attribute, text);
}

function show(node, attribute, text) {
  if (attribute === null) node.data = String(text);
  else node.setAttribute(attribute, String(text));
}

export const getLanguage = () => language;

/** Be told when the language changes; the signal ends it. */
export function onLanguage(listener, signal) {
  listeners.add(listener);
  signal?.addEventListener("abort", () => listeners.delete(listener));
}

export function setLanguage(name) {
  language = name;
  preferences.language = name;
  showLanguage();
}

/** Show everything in the current language. */
export function showLanguage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : language;
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node[BOUND]) for (const [attribute, text] of node[BOUND]) show(node, attribute, text);
  }
  for (const listener of listeners) listener(language);
}
