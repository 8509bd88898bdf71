/** Requests to the server that this page comes from, and what its refusals mean for people. */

import { Text, has, t } from "./i18n.js";
import { preferences } from "./preferences.js";

/** A refusal: `code` is for programs, `detail` one line for people. */
export class Problem extends Error {
  constructor(status, { code = "", detail = "" } = {}, retryAfter = null) {
    super(detail || `HTTP ${status}`);
    Object.assign(this, { name: "Problem", status, code, detail, retryAfter });
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "Unreachable";
  }
}

let askForKey = async () => false;

/** What is done when the server wants a key: a function that asks for one and says whether it was given. */
export function whenKeyNeeded(ask) {
  askForKey = ask;
}

/**
 * A request; a missing key is asked for, and then it is made again.
 * @param {object} [options] json, form (FormData) or body (Blob); signal; as: "json" (default), "blob" or "none"
 */
export async function request(method, path, options = {}) {
  const response = await send(method, path, options);
  if (response.ok) return answer(response, options.as ?? "json");
  const problem = await problemOf(response);
  if (problem.status === 401 && (await askForKey(problem))) return request(method, path, options);
  throw problem;
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, options) => request("POST", path, options);

async function send(method, path, { json, form, body, signal }) {
  const headers = authorization();
  if (json !== undefined) headers["Content-Type"] = "application/json";
  else if (body) headers["Content-Type"] = body.type || "application/octet-stream";
  try {
    const content = json === undefined ? (form ?? body) : JSON.stringify(json);
    return await fetch(path, { method, headers, body: content, signal, credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("no answer", { cause: error });
  }
}

const authorization = () => (preferences.key ? { Authorization: `Bearer ${preferences.key}` } : {});

function answer(response, as) {
  if (as === "none" || response.status === 204) return null;
  return as === "blob" ? response.blob() : response.json();
}

async function problemOf(response) {
  const wait = Number(response.headers.get("Retry-After")) || null;
  const said = await response.json().catch(() => ({}));
  return new Problem(response.status, said, wait);
}

/**
 * A request whose upload can be watched, which `fetch` cannot.
 * @param {(share: number) => void} onprogress
 */
export async function upload(path, options, onprogress) {
  try {
    return await uploadOnce(path, options, onprogress);
  } catch (error) {
    if (error instanceof Problem && error.status === 401 && (await askForKey(error))) {
      return upload(path, options, onprogress);
    }
    throw error;
  }
}

function uploadOnce(path, { form, body, signal }, onprogress) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", path);
    for (const [name, value] of Object.entries(authorization())) call.setRequestHeader(name, value);
    if (body) call.setRequestHeader("Content-Type", body.type || "application/octet-stream");
    call.upload.addEventListener("progress", (event) => event.lengthComputable && onprogress(event.loaded / event.total));
    call.addEventListener("load", () => {
      const said = parsed(call.responseText);
      if (call.status < 300) resolve(said);
      else reject(new Problem(call.status, said, Number(call.getResponseHeader("Retry-After")) || null));
    });
    call.addEventListener("error", () => reject(new Unreachable("no answer")));
    call.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal?.addEventListener("abort", () => call.abort());
    if (signal?.aborted) reject(new DOMException("stopped", "AbortError")); // before: nobody will be told that again
    else call.send(form ?? body);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** The query of a path from what is not empty. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** An error in words: a known code in the reader's language, else what the server said. */
export function explain(error) {
  if (error instanceof Unreachable) return t("error.unreachable");
  if (!(error instanceof Problem)) return t("error.unexpected");
  if (has(`error.${error.code}`)) return t(`error.${error.code}`, { seconds: error.retryAfter ?? 1, detail: error.detail });
  const { detail, status } = error;
  return detail ? new Text(() => capitalised(detail)) : t("error.status", { status: String(status) });
}

/** A refusal of one thing among several, as answers carry them, in words. */
export const explainOne = (said) => explain(new Problem(said.status, said));

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Whether an error only says that something was stopped. */
export const stopped = (error) => error?.name === "AbortError";
