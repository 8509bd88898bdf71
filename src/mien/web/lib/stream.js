/** The WebSocket of live frames: one question, one answer. */

import { preferences } from "./preferences.js";

export class Stream {
  /** @param {object} hello what is asked: only, identify */
  constructor(hello, signal) {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/v1/live`);
    this.socket.binaryType = "arraybuffer";
    this.waiting = null;
    this.early = []; // what came before anybody waited for it
    this.failure = null;
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify(preferences.key ? { key: preferences.key, ...hello } : hello)));
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => this.fail(new Error(event.reason || "closed")));
    signal.addEventListener("abort", () => {
      this.fail(signal.reason);
      this.socket.close();
    });
  }

  ready() {
    return this.next();
  }

  /** Send a frame, and wait for what is said of it. */
  ask(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame);
    return this.next();
  }

  next() {
    if (this.failure) return Promise.reject(this.failure);
    if (this.early.length) return Promise.resolve(this.early.shift());
    return new Promise((resolve, reject) => { this.waiting = { resolve, reject }; });
  }

  receive(message) {
    if (!this.waiting) return this.early.push(message);
    const { resolve } = this.waiting;
    this.waiting = null;
    return resolve(message);
  }

  fail(reason) {
    this.failure ??= reason;
    this.waiting?.reject(this.failure);
    this.waiting = null;
  }
}
