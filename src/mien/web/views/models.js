/** Models: what runs here, under which licence, and what it must not be used for. */

import { get } from "../lib/api.js";
import { h, icon } from "../lib/dom.js";
import { bytes, has, t } from "../lib/i18n.js";
import { server } from "../lib/server.js";

export default async function models({ signal }) {
  const { models: records } = await get("/v1/models", { signal });
  const inUse = new Set(Object.values(server.info.models ?? {}));
  const used = (record) => inUse.has(record.name);
  const sorted = [...records].sort((a, b) => used(b) - used(a));
  return h("div.view", null,
    h("header.title", null, h("h1", { tabindex: "-1" }, t("models.title")), h("p.lead", null, t("models.lead"))),
    h("section.notice", null, icon("info"), h("div", null, h("h2", null, t("models.limits.title")),
      h("ul", null, ["strangers", "inner", "decisions", "measure"].map((name) => h("li", null, t(`models.limits.${name}`)))))),
    h("ul.cards", null, sorted.map((record) => card(record, used(record)))));
}

function card(record, used) {
  const task = has(`task.${record.task}`) ? t(`task.${record.task}`) : record.task;
  return h("li.card.model", null,
    h("p.eyebrow", null, task),
    h("h2", null, record.name),
    h("p", null, has(`model.${record.name}`) ? t(`model.${record.name}`) : record.summary),
    h("p.badges", null,
      used ? h("span.badge.on", null, t("models.used")) : null,
      h("span.badge", null, t(record.commercial_use ? "models.commercial" : "models.noncommercial"))),
    h("dl.facts", null,
      fact(t("models.size"), bytes(record.bytes)),
      fact(t("models.licence"), record.licence_weights),
      has(`task.${record.task}.limits`) ? fact(t("models.mind"), t(`task.${record.task}.limits`)) : null),
    record.limits ? h("details", null, h("summary", null, t("models.maker")), h("p", { lang: "en" }, record.limits)) : null);
}

const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
