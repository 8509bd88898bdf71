/** The page: what stands around the views, and which of them is shown. */

import { explain, whenKeyNeeded } from "./lib/api.js";
import { button, h, icon, iconButton, put } from "./lib/dom.js";
import { notesShelf } from "./lib/dialog.js";
import { showLanguage, t } from "./lib/i18n.js";
import { connect, readsGallery, server, writesGallery } from "./lib/server.js";
import { askForKey, openSettings } from "./settings.js";

const VIEWS = ["look", "live", "people", "groups", "video", "unlock", "models"];
const HIDDEN = ["welcome"]; // views that the navigation does not list

const main = h("main", { id: "main", tabindex: "-1" });
const navigation = h("nav", { "aria-label": t("nav.label") }, h("ul", null, VIEWS.map((name) => h("li", null,
  h("a", { href: `#/${name}`, "data-view": name }, icon(name), h("span", null, t(`nav.${name}`)))))));
let leaving = new AbortController();

function frame() {
  const skip = h("a.skip", { href: "#main" }, t("nav.skip"));
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address belongs to the views
    main.focus();
  });
  const brand = h("a.brand", { href: "#/look", "aria-label": "mien" },
    h("img", { src: "/web/mien.svg", alt: "", width: 28, height: 28 }), h("span", null, "mien"));
  const settings = iconButton(t("settings.title"), "settings", () => openSettings(start));
  put(document.querySelector("#app"), skip, h("header.bar", null, brand, navigation, settings), main, notesShelf());
}

/** The view that the address names, and what else it says. */
function place() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { name: [...VIEWS, ...HIDDEN].includes(name) ? name : null, rest };
}

async function show() {
  const { name, rest } = place();
  if (!name) return location.replace(`#/${first()}`);
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  for (const link of navigation.querySelectorAll("a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = await import(`./views/${name}.js`);
  if (signal.aborted) return;
  put(main, await made(view, { signal, rest }));
  if (signal.aborted) return;
  document.title = `${main.querySelector("h1")?.textContent ?? ""} · mien`;
  window.scrollTo(0, 0);
  if (moved) main.querySelector("h1")?.focus();
  moved = true;
}

let moved = false; // whether the reader came from another view: then its title is where reading goes on

async function made(view, context) {
  try {
    return await view.default(context);
  } catch (error) {
    if (context.signal.aborted) return [];
    console.error(error);
    return failure(error, show);
  }
}

/** Whoever comes first enrols themselves; everybody else looks at pictures. */
const first = () => (writesGallery() && server.gallery.people === 0 ? "welcome" : "look");

function failure(error, again) {
  return h("section.empty", { role: "alert" }, icon("warn"), h("h1", { tabindex: "-1" }, t("failure.title")), h("p", null, explain(error)),
    button(t("again"), again, { kind: "primary" }));
}

async function start() {
  try {
    await connect();
  } catch (error) {
    put(main, failure(error, start));
    return;
  }
  document.documentElement.classList.toggle("no-gallery", !readsGallery());
  await show();
}

frame();
showLanguage();
whenKeyNeeded(askForKey);
window.addEventListener("hashchange", show);
start();
