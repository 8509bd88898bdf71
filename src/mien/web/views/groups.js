/** Groups: many pictures of unknown people, sorted by whom they show, to be named. */

import { explain, explainOne, post, query, Problem, stopped } from "../lib/api.js";
import { attempt, note } from "../lib/dialog.js";
import { button, h, icon, newId, put } from "../lib/dom.js";
import { dropArea } from "../lib/faces.js";
import { t } from "../lib/i18n.js";
import { filePath, forget, jobPath, runJob } from "../lib/job.js";
import { serverImage } from "../lib/media.js";
import { refreshGallery, writesGallery } from "../lib/server.js";

const SHOWN = 24; // crops of one group

export default function groups({ signal }) {
  return new Groups(signal).element;
}

class Groups {
  constructor(signal) {
    this.signal = signal;
    this.body = h("div");
    this.least = h("select", { id: newId("least") }, [2, 3, 5, 10].map((n) => h("option", { value: n }, t("groups.least.n", { n }))));
    this.element = h("div.view", null,
      h("header.title", null, h("h1", { tabindex: "-1" }, t("groups.title")), h("p.lead", null, t("groups.lead"))), this.body);
    signal.addEventListener("abort", () => this.job && forget(this.job.id));
    this.ask();
  }

  ask(refusal = null) {
    put(this.body, refusal ? h("p.refusal", { role: "alert" }, icon("warn"), h("span", null, refusal)) : null,
      dropArea({
        accept: "image/*,.zip,application/zip", multiple: true, symbol: "groups", title: t("groups.drop"), hint: t("groups.drop.hint"),
        choose: t("groups.choose"), onfiles: (files) => this.run(files),
      }),
      h("div.options", null, h("label", { for: this.least.id }, t("groups.least")), this.least));
  }

  async run(files) {
    const form = new FormData();
    const archive = files.find((file) => /\.zip$/i.test(file.name));
    if (archive) form.append("archive", archive, archive.name);
    else for (const file of files) form.append("image", file, file.name);
    try {
      const job = await runJob(`/v1/clusters${query({ min_size: this.least.value })}`, { form }, this.body, this.signal);
      if (job.state !== "done") throw new Problem(422, job.error);
      this.job = job;
      this.show(job);
    } catch (error) {
      if (!this.signal.aborted) this.ask(stopped(error) ? null : explain(error));
    }
  }

  show({ result }) {
    const { groups: found, ungrouped = [], failed = [] } = result;
    const again = button(t("groups.again"), () => { forget(this.job.id); this.job = null; this.ask(); }, { symbol: "back" });
    put(this.body,
      h("p.lead", { role: "status" }, t("groups.found", { n: found.length })),
      found.length ? h("ul.groups", null, found.map((group) => this.group(group)))
        : h("div.empty.small", null, icon("groups"), h("p", null, t("groups.none"))),
      ungrouped.length ? h("p.soft", null, t("groups.alone", { n: ungrouped.length })) : null,
      failed.length ? h("details", null, h("summary", null, t("groups.failed", { n: failed.length })),
        h("ul", null, failed.map(({ path, code, error }) => h("li", null, t("pair", { name: path, what: explainOne({ code, detail: error }) }))))) : null,
      h("div.actions", null, again));
  }

  group({ group, size, faces }) {
    const crops = faces.slice(0, SHOWN).map((face) => face.crop);
    const label = t("groups.number", { n: group });
    const item = h("li.card", null, h("h2", null, label, " ", h("span.soft", null, t("person.faces", { n: size }))),
      h("ul.crops.tight", null, crops.map((name, i) => h("li", null, serverImage(filePath(this.job.id, name), t("face.number", { n: i + 1 }), this.signal)))));
    if (writesGallery()) item.append(this.naming(group, label, item));
    return item;
  }

  naming(group, label, item) {
    const input = h("input", { type: "text", required: true, maxlength: 200, autocomplete: "off", placeholder: t("groups.who"), "aria-label": t("groups.who.label", { n: group }) });
    const submit = async (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return;
      const told = await attempt(() => post(jobPath(this.job.id, `/groups/${group}/name`), { json: { name } }));
      if (!told) return;
      await refreshGallery();
      note(t("groups.named", { name, n: told.person?.faces ?? 0 }));
      form.replaceWith(h("p.named", null, icon("check"), h("a", { href: `#/people/${told.person.id}` }, name)));
      item.querySelector("a").focus();
    };
    const form = h("form.inline", { on: { submit } }, input,
      h("button.button.primary", { type: "submit" }, h("span", null, t("groups.name"))));
    return form;
  }
}
