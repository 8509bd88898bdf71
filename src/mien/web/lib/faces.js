/** What is said of faces, drawn: frames around them, bars of their expressions, how good a picture is. */

import { button, h, icon } from "./dom.js";
import { has, joined, number, percent, t } from "./i18n.js";
import { toBlob } from "./camera.js";

export const EXPRESSIONS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"];

/** The name of an expression; models of users may know others than ours. */
export const expressionName = (label) => (has(`expression.${label}`) ? t(`expression.${label}`) : label);

/** The custom property that has an expression's colour. */
export const colourOf = (label) => (EXPRESSIONS.includes(label) ? `var(--x-${label})` : "var(--x-uncertain)");

/** The title of a face: its name, or its number. */
export function titleOf(face, i) {
  if (face.identity?.person) return face.identity.person;
  return face.identity ? t("face.unknown") : t("face.number", { n: i + 1 });
}

/** Where a box is in its picture, as custom properties in percent. */
function place([x1, y1, x2, y2], { width, height }, mirrored) {
  const left = mirrored ? width - x2 : x1;
  const share = (value, whole) => `${((100 * value) / whole).toFixed(3)}%`;
  return { left: share(left, width), top: share(y1, height), width: share(x2 - x1, width), height: share(y2 - y1, height) };
}

/** Where the name of a face goes so that it stays within the picture: above its frame, or below; from its left, or its right. */
function side([x1, y1], { width, height }, mirrored) {
  const left = mirrored ? 1 - x1 / width : x1 / width;
  return [y1 < 0.12 * height ? "below" : "above", left > 0.6 ? "from-right" : "from-left"];
}

/** A frame around a face that can be pressed. */
export function faceButton(face, i, size, onpress) {
  const label = t("face.show", { who: titleOf(face, i) });
  return h("button.frame", { type: "button", "aria-label": label, css: place(face.box, size, false), on: { click: onpress } },
    h("span.tag", { "aria-hidden": "true", class: side(face.box, size, false).join(" ") }, titleOf(face, i)));
}

/** The same as a drawing, for moving pictures. */
export function faceFrame(face, size, mirrored, text) {
  return h("div.frame", { css: place(face.box, size, mirrored) }, text ? h("span.tag", { class: side(face.box, size, mirrored).join(" ") }, text) : null);
}

/** One line: what a face shows. */
export function expressionLine(expression) {
  if (!expression) return null;
  return joined([expressionName(expression.label), percent(expression.confidence)], " · ");
}

const SHOWN = 3; // bars at least; more where there is something to be seen

/** Bars of the expressions that a face may show, most likely first. */
export function expressionBars(expression) {
  const sorted = Object.entries(expression.scores).sort((a, b) => b[1] - a[1]);
  const rows = sorted.filter(([, score], i) => i < SHOWN || score >= 0.01);
  return h("dl.bars", { "aria-label": t("face.expression") }, rows.map(([label, score]) => h("div", null,
    h("dt", null, expressionName(label)),
    h("dd", null,
      h("span.bar", { css: { "--share": `${100 * score}%`, "--colour": colourOf(label) }, "aria-hidden": "true" }),
      h("span.value", null, percent(score))))));
}

/** How well a face serves to recognise somebody by, and what to do about it. */
export function qualityNote(quality) {
  if (!quality) return null;
  const advice = quality.advice.map((code) => h("li", null, adviceText(code)));
  return h("div.quality", null,
    h("p", null, icon(quality.usable ? "check" : "info"), h("span", null, t(quality.usable ? "quality.good" : "quality.poor"))),
    advice.length ? h("ul", null, advice) : null);
}

export const adviceText = (code) => (has(`advice.${code}`) ? t(`advice.${code}`) : code);

/** Age and gender, as far as they were asked for, with what such numbers are worth. */
export function attributesNote(face) {
  const parts = [];
  if (face.age) {
    const range = { from: number(Math.max(0, face.age.years - face.age.sd)), to: number(face.age.years + face.age.sd) };
    parts.push(h("div", null, h("dt", null, t("face.age")), h("dd", null, t("face.years", range))));
  }
  if (face.gender) {
    const label = has(`gender.${face.gender.label}`) ? t(`gender.${face.gender.label}`) : face.gender.label;
    parts.push(h("div", null, h("dt", null, t("face.gender")), h("dd", null, label, " ", h("span.soft", null, percent(face.gender.confidence)))));
  }
  return parts.length ? h("dl.facts", null, parts) : null;
}

/** A small round picture of a face, cut out of its picture. */
export function thumbnail(picture, box, side = 96) {
  const canvas = h("canvas.thumb", { width: side, height: side, role: "presentation" });
  const [x, y, size] = square(box, 1.35);
  canvas.getContext("2d").drawImage(picture, x, y, size, size, 0, 0, side, side);
  return canvas;
}

/** A face with its surroundings as a picture of its own, so that it can be enrolled alone. */
export async function cutOut(picture, box) {
  const [x, y, size] = square(box, 2);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.max(64, Math.round(Math.min(size, 1024)));
  const context = canvas.getContext("2d");
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, x, y, size, size, 0, 0, canvas.width, canvas.height);
  return toBlob(canvas, 0.95);
}

/** A square around a box: left, top, side. */
function square([x1, y1, x2, y2], margin) {
  const size = Math.max(x2 - x1, y2 - y1) * margin;
  return [(x1 + x2) / 2 - size / 2, (y1 + y2) / 2 - size / 2, size];
}

/** A legend of expressions. */
export function legend(labels = EXPRESSIONS) {
  return h("ul.legend", { "aria-label": t("face.expressions") }, labels.map((label) => h("li", null,
    h("span.dot", { css: { "--colour": colourOf(label) }, "aria-hidden": "true" }), h("span", null, expressionName(label)))));
}

/** The first letters of a name, for somebody without a picture. */
export function monogram(name) {
  const words = (name ?? "").trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...(words[0] ?? "?")][0];
  return h("span.monogram", { "aria-hidden": "true" }, letters.toLocaleUpperCase());
}

/** An area that takes files: dropped on it or chosen. */
export function dropArea({ accept, multiple, title, hint, choose, symbol = "upload", first = [], more = [], onfiles }) {
  const input = h("input.hidden-input", { type: "file", accept, multiple, tabindex: "-1", "aria-hidden": "true" });
  input.addEventListener("change", () => {
    if (input.files.length) onfiles([...input.files]);
    input.value = "";
  });
  const area = h("div.drop", null, icon(symbol), h("p.drop-title", null, title), h("p.soft", null, hint),
    h("div.actions.centred", null, first, button(choose, () => input.click(), { kind: first.length ? "plain" : "primary", symbol: "upload" }), more), input);
  acceptDrops(area, onfiles);
  return area;
}

function acceptDrops(area, onfiles) {
  let depth = 0; // children of the area send events of their own
  const over = (change) => area.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
  area.addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("dragleave", () => over(-1));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(0);
    if (event.dataTransfer.files.length) onfiles([...event.dataTransfer.files]);
  });
}
