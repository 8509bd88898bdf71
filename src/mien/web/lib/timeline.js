/** A timeline: a lane for each person, with bands where they were there and what they showed.
 *
 * To the keyboard it is a slider: the arrows move a cursor through time and from lane to lane, and what is under the
 * cursor is said and shown.
 */

import { button, h, iconButton, put } from "./dom.js";
import { colourOf, expressionName, legend } from "./faces.js";
import { joined, number, percent, t } from "./i18n.js";

const MOST_ZOOM = 64;
const PERSON = /^person (\d+)$/;

/** Somebody's name; people without one are numbered. */
export function personName(who) {
  const numbered = who.match(PERSON);
  return numbered ? t("person.number", { n: Number(numbered[1]) }) : who;
}

/** A length of time. */
export const seconds = (value) => t("seconds", { value: number(value, 1) });

/** A moment: 1:02.5. */
export function clock(time) {
  const whole = Math.max(0, time);
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}

export class Timeline {
  /** @param {object} summary as `mien video --json` says it; @param onseek called when a moment was chosen */
  constructor(summary, { onseek = () => {} } = {}) {
    const { start, end } = summary.video;
    Object.assign(this, { summary, onseek, start, length: Math.max(end - start, 0.1), zoom: 1, time: start, lane: 0 });
    this.cursor = h("div.cursor", { "aria-hidden": "true" });
    this.axis = h("div.axis", { "aria-hidden": "true" });
    this.lanes = summary.people.map((person) => this.lane_(person));
    this.tip = h("div.tip", { hidden: true, "aria-hidden": "true" });
    this.track = h("div.tracks", {
      role: "slider", tabindex: "0", "aria-label": t("timeline.label"), "aria-orientation": "horizontal",
      "aria-valuemin": start.toFixed(1), "aria-valuemax": end.toFixed(1),
      on: {
        keydown: (event) => this.key(event), pointermove: (event) => this.hover(event), pointerleave: () => this.leave(),
        pointerdown: (event) => this.press(event), wheel: (event) => this.wheel(event), focus: () => this.showTip(), blur: () => this.leave(),
      },
    }, this.axis, this.lanes, this.cursor);
    this.scroller = h("div.scroller", null, this.track);
    this.element = h("section.timeline", { "aria-label": t("timeline.title") }, this.head(), h("div.body", null, this.labels(), this.scroller, this.tip), legend());
    this.setZoom(1);
    this.moveTo(start, { seek: false });
  }

  head() {
    return h("header.with-actions", null, h("h2", null, t("timeline.title")),
      h("p.soft.small.hint-keys", null, t("timeline.keys")),
      h("div.actions", null,
        iconButton(t("timeline.out"), "minus", () => this.setZoom(this.zoom / 2)),
        iconButton(t("timeline.in"), "plus", () => this.setZoom(this.zoom * 2)),
        button(t("timeline.all"), () => this.setZoom(1), { kind: "quiet" })));
  }

  labels() {
    return h("div.labels", null, this.summary.people.map((person) => h("div", { title: person.who }, personName(person.who))));
  }

  lane_(person) {
    const bands = this.expressions(person.who).map((event) => this.band("expression", event.time, event.end ?? event.time, colourOf(event.label)));
    return h("div.lane", null, person.presence.map(([from, to]) => this.band("there", from, to, null)), bands);
  }

  expressions(who) {
    return this.summary.events.filter((event) => event.who === who && event.event === "expression");
  }

  band(kind, from, to, colour) {
    const css = { left: this.percent(from), width: `${((100 * (to - from)) / this.length).toFixed(4)}%` };
    return h(`div.band.${kind}`, { css: colour ? { ...css, "--colour": colour } : css });
  }

  percent(time) {
    return `${((100 * (time - this.start)) / this.length).toFixed(4)}%`;
  }

  /** Show more or less of the time, around the cursor. */
  setZoom(zoom) {
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, zoom));
    this.track.style.setProperty("--zoom", String(this.zoom));
    put(this.axis, ticks(this.start, this.length, 8 * this.zoom).map((time) => h("span", { css: { left: this.percent(time) } }, clock(time))));
    this.keepInView(true);
  }

  /** Put the cursor at a time, and say what is there. */
  moveTo(time, { seek = true } = {}) {
    this.time = Math.min(this.start + this.length, Math.max(this.start, time));
    this.cursor.style.setProperty("left", this.percent(this.time));
    this.lanes.forEach((lane, i) => lane.classList.toggle("chosen", i === this.lane));
    this.track.setAttribute("aria-valuenow", this.time.toFixed(1));
    this.track.setAttribute("aria-valuetext", String(this.words(this.time, this.lane)));
    if (seek) this.onseek(this.time);
  }

  /** What is under a time and a lane, in words. */
  words(time, lane) {
    const person = this.summary.people[lane];
    return joined([clock(time), t("pair", { name: personName(person.who), what: this.state(person, time) })], " · ");
  }

  state(person, time) {
    if (!person.presence.some(([from, to]) => from <= time && time <= to)) return t("timeline.away");
    const shown = this.expressions(person.who).find((event) => event.time <= time && time <= (event.end ?? event.time));
    if (!shown) return t(person.expression ? "timeline.nothing" : "timeline.there"); // no event: neutral, uncertain, or brief
    return shown.peak === undefined ? expressionName(shown.label)
      : joined([expressionName(shown.label), t("timeline.peak", { share: percent(shown.peak) })], " ");
  }

  key(event) {
    const step = (event.shiftKey ? 10 : 1) * Math.max(0.1, this.length / 100 / this.zoom);
    const moves = {
      ArrowLeft: () => this.moveTo(this.time - step), ArrowRight: () => this.moveTo(this.time + step),
      PageUp: () => this.moveTo(this.time + 10 * step), PageDown: () => this.moveTo(this.time - 10 * step),
      Home: () => this.moveTo(this.start), End: () => this.moveTo(this.start + this.length),
      ArrowUp: () => this.chooseLane(this.lane - 1), ArrowDown: () => this.chooseLane(this.lane + 1),
      "+": () => this.setZoom(this.zoom * 2), "=": () => this.setZoom(this.zoom * 2), "-": () => this.setZoom(this.zoom / 2),
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
    this.keepInView();
    this.showTip();
  }

  chooseLane(lane) {
    this.lane = Math.min(this.lanes.length - 1, Math.max(0, lane));
    this.moveTo(this.time, { seek: false });
  }

  /** Time and lane under a pointer. */
  under(event) {
    const { left, width } = this.track.getBoundingClientRect();
    const lane = this.lanes.findIndex((one) => {
      const { top, bottom } = one.getBoundingClientRect();
      return event.clientY >= top && event.clientY < bottom;
    });
    return { time: this.start + (this.length * (event.clientX - left)) / width, lane };
  }

  hover(event) {
    const { time, lane } = this.under(event);
    if (lane < 0) this.tip.hidden = true;
    else this.tipAt(time, lane);
  }

  press(event) {
    const { time, lane } = this.under(event);
    if (lane >= 0) this.lane = lane;
    this.moveTo(time);
  }

  wheel(event) {
    if (!event.ctrlKey) return; // else it scrolls
    event.preventDefault();
    this.moveTo(this.under(event).time, { seek: false });
    this.setZoom(this.zoom * (event.deltaY < 0 ? 1.5 : 1 / 1.5));
  }

  leave() {
    this.tip.hidden = true;
  }

  showTip() {
    if (this.track.matches(":focus-visible")) this.tipAt(this.time, this.lane);
  }

  tipAt(time, lane) {
    put(this.tip, this.words(time, lane));
    this.tip.hidden = false;
    const body = this.scroller.parentElement.getBoundingClientRect();
    const track = this.track.getBoundingClientRect();
    const x = track.left - body.left + (track.width * (time - this.start)) / this.length;
    const half = this.tip.offsetWidth / 2;
    this.tip.style.setProperty("left", `${Math.min(body.width - half, Math.max(half, x))}px`);
    this.tip.style.setProperty("top", `${this.lanes[lane].getBoundingClientRect().top - body.top}px`);
  }

  keepInView(centred = false) {
    const { clientWidth, scrollWidth, scrollLeft } = this.scroller;
    const x = (scrollWidth * (this.time - this.start)) / this.length;
    if (centred || x < scrollLeft || x > scrollLeft + clientWidth) this.scroller.scrollLeft = x - clientWidth / 2;
  }
}

/** About so many round times. */
function ticks(start, length, wanted) {
  const rough = length / wanted;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((one) => one >= rough) ?? 3600;
  const first = Math.ceil(start / step);
  return Array.from({ length: Math.floor((start + length) / step - first) + 1 }, (_, i) => (first + i) * step);
}
