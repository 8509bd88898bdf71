/** Video: who is there and what they show, as a timeline. */

import { explain, query, Problem, stopped } from "../lib/api.js";
import { attempt } from "../lib/dialog.js";
import { button, h, icon, put, toggle } from "../lib/dom.js";
import { dropArea, expressionName } from "../lib/faces.js";
import { bytes, has, joined, number, percent, t } from "../lib/i18n.js";
import { filePath, forget, runJob } from "../lib/job.js";
import { download, showBlob } from "../lib/media.js";
import { knowsPeople, server } from "../lib/server.js";
import { Timeline, personName, seconds } from "../lib/timeline.js";

const MOST_NAMED = 10;

export default function video({ signal }) {
  return new Video(signal).element;
}

class Video {
  constructor(signal) {
    this.signal = signal;
    this.names = knowsPeople();
    this.body = h("div");
    this.element = h("div.view", null,
      h("header.title", null, h("h1", { tabindex: "-1" }, t("video.title")), h("p.lead", null, t("video.lead"))), this.body);
    signal.addEventListener("abort", () => this.job && forget(this.job.id));
    this.ask();
  }

  ask(refusal = null) {
    const names = knowsPeople();
    put(this.body, refusal ? h("p.refusal", { role: "alert" }, icon("warn"), h("span", null, refusal)) : null,
      dropArea({
        accept: "video/*,.mkv,.avi,.mov", multiple: false, symbol: "video", title: t("video.drop"),
        hint: t("video.drop.hint", { size: bytes(server.info.limits.video_bytes) }), choose: t("video.choose"), onfiles: ([file]) => this.run(file),
      }),
      names ? h("div.options", null, toggle(t("video.names"), this.names, (on) => { this.names = on; })) : null);
  }

  async run(file) {
    try {
      const path = `/v1/videos${query({ name: file.name, identify: this.names })}`;
      const job = await runJob(path, { body: file }, this.body, this.signal);
      if (job.state !== "done") throw new Problem(422, job.error);
      this.job = job;
      this.show(job, file);
    } catch (error) {
      if (!this.signal.aborted) this.ask(stopped(error) ? null : explain(error));
    }
  }

  show({ result, files }, file) {
    const { counts } = result;
    const player = this.player(file);
    const timeline = new Timeline(result, { onseek: (time) => player.seek(time) });
    player.ontime = (time) => timeline.moveTo(time, { seek: false });
    const again = button(t("video.again"), () => { forget(this.job.id); this.job = null; this.ask(); }, { symbol: "back" });
    put(this.body,
      h("p.lead", { role: "status" }, howMany(counts)),
      doubt(result),
      player.element,
      result.people.length ? timeline.element : h("div.empty.small", null, icon("face"), h("p", null, t("video.nobody"))),
      result.people.length ? peopleTable(result) : null,
      h("section", null, h("h2", null, t("video.downloads")), h("ul.downloads", null, files.map((name) => this.download(name)))),
      h("div.actions", null, again));
  }

  /** The video itself, where the browser can play it. */
  player(file) {
    const element = h("video.player", { controls: true, playsinline: true, muted: true, preload: "metadata", "aria-label": t("video.player"), props: { muted: true } });
    const player = { element, ontime: () => {}, seek: (time) => { if (element.readyState > 0) element.currentTime = time; } };
    element.addEventListener("error", () => element.remove());
    element.addEventListener("timeupdate", () => { if (!element.paused) player.ontime(element.currentTime); });
    showBlob(element, file, this.signal);
    return player;
  }

  download(name) {
    const label = has(`file.${name}`) ? t(`file.${name}`) : name;
    return h("li", null, button(label, () => attempt(() => download(filePath(this.job.id, name), name)), { symbol: "download" }),
      h("span.soft.small", null, name));
  }
}

/** Who was never seen well could be one of the others. */
function howMany({ people: n, at_least: least }) {
  return least < n ? t("video.found.range", { least, n }) : t("video.found", { n });
}

/** Who that is; of many, it is enough how many there are. */
function doubt({ counts, people }) {
  const unclear = people.filter((person) => person.unclear);
  if (counts.at_least === counts.people || unclear.length > MOST_NAMED) return null;
  return h("p.hint", null, t("video.unclear", { who: joined(unclear.map((person) => personName(person.who)), t("comma")) }));
}

/** What the timeline shows, in numbers. */
function peopleTable({ people }) {
  const known = people.some((person) => person.expression);
  const head = [t("table.who"), t("table.present"), ...(known ? [t("table.mostly"), t("table.smiles")] : [])];
  return h("section", null, h("h2", null, t("video.people")),
    h("div.table-wrap", { tabindex: "0", role: "region", "aria-label": t("video.people") }, h("table", null,
      h("thead", null, h("tr", null, head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, people.map((person) => row(person, known))))));
}

function row(person, known) {
  const { expression, smiles } = person;
  const mostly = expression ? [expressionName(expression.main), " ", h("span.soft", null, percent(expression.shares[expression.main]))] : "–";
  return h("tr", null, h("th", { scope: "row" }, personName(person.who)), h("td", null, seconds(person.seconds)),
    known ? [h("td", null, mostly), h("td", null, smiles ? number(smiles.count) : "–")] : null);
}
