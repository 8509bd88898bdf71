/** Expressions over the last half minute, as areas on top of each other. */

import { h } from "./dom.js";
import { EXPRESSIONS } from "./faces.js";
import { t } from "./i18n.js";

const SECONDS = 30;

export class Chart {
  constructor(signal) {
    this.canvas = h("canvas", { role: "img", "aria-label": t("live.chart.label", { seconds: SECONDS }) });
    this.element = h("div.chart", null, this.canvas);
    this.samples = []; // {time, scores}; scores of null: nobody was there
    const observer = new ResizeObserver(() => this.draw());
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.draw(), { signal });
  }

  clear() {
    this.samples = [];
    this.draw();
  }

  add(scores) {
    const time = performance.now() / 1000;
    this.samples.push({ time, scores });
    while (this.samples[0].time < time - SECONDS - 1) this.samples.shift();
    this.draw();
  }

  draw() {
    const { width, height } = this.element.getBoundingClientRect();
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.element);
    for (const run of this.runs()) this.drawRun(context, run, width, height, style);
  }

  /** Stretches of time without a gap. */
  runs() {
    const runs = [];
    let open = false;
    for (const sample of this.samples) {
      if (!sample.scores) open = false;
      else if (open) runs.at(-1).push(sample);
      else open = Boolean(runs.push([sample]));
    }
    return runs;
  }

  drawRun(context, run, width, height, style) {
    const now = this.samples.at(-1).time;
    const x = ({ time }) => width * (1 - (now - time) / SECONDS);
    const base = run.map(() => 0);
    for (const label of EXPRESSIONS) {
      const below = base.map((value) => height * (1 - value));
      run.forEach(({ scores }, i) => { base[i] += scores[label] ?? 0; });
      context.fillStyle = style.getPropertyValue(`--x-${label}`);
      context.beginPath();
      run.forEach((sample, i) => context.lineTo(x(sample), height * (1 - base[i])));
      for (let i = run.length - 1; i >= 0; i -= 1) context.lineTo(x(run[i]), below[i]);
      context.fill();
    }
  }
}
