/** The settings: language, light, key, and what the server says about itself. */

import { explain } from "./lib/api.js";
import { button, field, h, icon, newId } from "./lib/dom.js";
import { openDialog } from "./lib/dialog.js";
import { LANGUAGES, Text, bytes, getLanguage, joined, setLanguage, t } from "./lib/i18n.js";
import { preferences } from "./lib/preferences.js";
import { connect, server } from "./lib/server.js";

/** Show the settings; `changed` is called where the key became another. */
export async function openSettings(changed) {
  const before = preferences.key;
  await openDialog(t("settings.title"), () => [
    choice(t("settings.language"), LANGUAGES, getLanguage(), setLanguage),
    choice(t("settings.theme"), themes(), preferences.theme, (theme) => { preferences.theme = theme; }),
    keyPart(),
    about(),
  ]);
  if (preferences.key !== before) changed();
}

const themes = () => ({ "": t("theme.system"), light: t("theme.light"), dark: t("theme.dark") });

/** Radio buttons beside each other. */
function choice(title, options, current, onchange) {
  const name = newId("choice");
  const items = Object.entries(options).map(([value, label]) => h("label", null,
    h("input", { type: "radio", name, value, props: { checked: value === current }, on: { change: () => onchange(value) } }),
    h("span", null, label)));
  return h("fieldset.choice", null, h("legend", null, title), h("div", null, items));
}

function keyInput() {
  return h("input", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "mien_…", props: { value: preferences.key } });
}

function keyPart() {
  const input = keyInput();
  const said = h("p.hint", { role: "status" });
  const use = async () => {
    preferences.key = input.value.trim();
    said.replaceChildren(await tried());
  };
  const forget = () => {
    input.value = "";
    preferences.key = "";
    said.replaceChildren(h("span", null, t("key.forgotten")));
  };
  return h("section.key", null, field(t("key.label"), input, t("key.hint")),
    h("div.actions", null, button(t("key.use"), use), button(t("key.forget"), forget, { kind: "quiet" })), said);
}

/** Whether the key that was just given is one. */
async function tried() {
  asking = true; // the dialog that asks for a key would be a second one
  try {
    await connect();
    return h("span", null, t("key.works"));
  } catch (error) {
    return h("span", null, explain(error));
  } finally {
    asking = false;
  }
}

function about() {
  if (!server.info) return null;
  const { version, scopes, limits } = server.info;
  const facts = [
    [t("about.version"), version],
    [t("about.may"), joined(scopes.map((scope) => t(`scope.${scope}`)), t("comma"))],
    [t("about.picture"), bytes(limits.picture_bytes)],
    [t("about.video"), bytes(limits.video_bytes)],
  ];
  return h("section", null, h("h3", null, t("about.title")),
    h("dl.facts", null, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
}

let asking = false;
let asked = null;

/** Ask for a key, once for all requests that lack one; resolves with whether there is another now. */
export function askForKey(problem) {
  if (asking) return Promise.resolve(false);
  asked ??= ask(problem).finally(() => { asked = null; });
  return asked;
}

async function ask(problem) {
  const wrong = preferences.key !== "" && problem.code !== "no-key";
  const key = await openDialog(t("key.title"), (close) => {
    const input = keyInput();
    input.required = true;
    input.setAttribute("autofocus", "");
    const submit = (event) => {
      event.preventDefault();
      close(input.value.trim());
    };
    return [
      h("p", null, t("key.needed")),
      wrong ? h("p.refusal", { role: "alert" }, icon("warn"), h("span", null, new Text(() => String(explain(problem))))) : null,
      h("form", { on: { submit } }, field(t("key.label"), input, t("key.hint")),
        h("div.actions", null, button(t("cancel"), () => close(null)),
          h("button.button.primary", { type: "submit" }, h("span", null, t("key.use"))))),
    ].filter(Boolean);
  });
  if (key) preferences.key = key;
  return Boolean(key);
}
