/** What the browser remembers: choices for ever, the key only as long as this tab is open. */

const PREFIX = "mien.";

function read(storage, name) {
  try {
    return window[storage].getItem(PREFIX + name) ?? "";
  } catch {
    return ""; // storage can be forbidden: then nothing is remembered
  }
}

function write(storage, name, value) {
  try {
    if (value) window[storage].setItem(PREFIX + name, value);
    else window[storage].removeItem(PREFIX + name);
  } catch {
    // likewise
  }
}

let key = read("sessionStorage", "key");

export const preferences = {
  get language() { return read("localStorage", "language"); },
  set language(value) { write("localStorage", "language", value); },
  get theme() { return read("localStorage", "theme"); },
  set theme(value) {
    write("localStorage", "theme", value);
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  },
  /** Whether age and gender are estimated: off until somebody wants it. */
  get attributes() { return read("localStorage", "attributes") === "on"; },
  set attributes(value) { write("localStorage", "attributes", value ? "on" : ""); },
  get key() { return key; },
  set key(value) {
    key = value;
    write("sessionStorage", "key", value);
  },
};
