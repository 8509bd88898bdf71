/** Work that the server does in the background. */

import { get, request, upload } from "./api.js";
import { button, h, pause, progressBar, put } from "./dom.js";
import { number, percent, t } from "./i18n.js";

const ASK_EVERY = 700; // milliseconds
const ENDED = new Set(["done", "failed", "cancelled"]);

/**
 * Send something, and follow the job that it becomes; resolves with the finished job.
 * @param {Element} place shows how far it is, with a button that stops it
 */
export async function runJob(path, options, place, signal) {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  const bar = progressBar(t("job.progress"));
  const line = h("p", { role: "status" });
  put(place, h("section.card.job", null, line, bar.element,
    h("div.actions", null, button(t("job.stop"), () => stop.abort(), { symbol: "stop" }))));
  put(line, t("job.sending"));
  const sent = (share) => {
    bar.set(share);
    if (share === 1) put(line, t("job.waiting"));
  };
  const { job } = await upload(path, { ...options, signal: stop.signal }, sent);
  try {
    return await follow(job, bar, line, stop.signal);
  } catch (error) {
    await forget(job.id); // whoever leaves or stops wants nothing of it kept
    throw error;
  }
}

async function follow(job, bar, line, signal) {
  let current = job;
  while (!ENDED.has(current.state)) {
    show(current, bar, line);
    await pause(ASK_EVERY, signal);
    current = (await get(jobPath(job.id), { signal })).job;
  }
  return current;
}

function show({ state, progress }, bar, line) {
  const { done = 0, total, unit } = progress ?? {};
  bar.set(total ? Math.min(1, done / total) : null);
  if (state === "waiting") put(line, t("job.waiting"));
  else if (total) put(line, t(`job.of.${unit}`, { done: number(done), total: number(total), share: percent(Math.min(1, done / total)) }));
  else put(line, t(`job.done.${unit ?? "seconds"}`, { done: number(done) }));
}

export const jobPath = (id, more = "") => `/v1/jobs/${encodeURIComponent(id)}${more}`;
export const filePath = (id, name) => jobPath(id, `/files/${encodeURIComponent(name)}`);

/** Let the server remove a job and what it made. */
export const forget = (id) => request("DELETE", jobPath(id)).catch(() => null);
