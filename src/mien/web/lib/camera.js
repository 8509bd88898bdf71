/** A camera: its picture on the page, and frames of it as JPEG. */

import { h, iconButton, put } from "./dom.js";
import { t } from "./i18n.js";

const REFUSALS = {
  NotAllowedError: "camera.denied",
  NotFoundError: "camera.none",
  OverconstrainedError: "camera.none",
  NotReadableError: "camera.busy",
};

/** A camera that could not be opened; `text` says why. */
export class CameraError extends Error {
  constructor(text, cause) {
    super(String(text), { cause });
    this.text = text;
  }
}

/**
 * The element of a camera, off at first.
 * @param {AbortSignal} signal switches it off
 */
export class Camera {
  constructor(signal) {
    this.video = h("video", { muted: true, playsinline: true, "aria-label": t("camera.picture"), props: { muted: true } });
    this.layer = h("div.layer", { "aria-hidden": "true" });
    this.element = h("div.stage.camera", null, this.video, this.layer);
    this.canvas = document.createElement("canvas");
    this.stream = null;
    this.facing = "user";
    signal.addEventListener("abort", () => this.stop());
    this.signal = signal;
  }

  /** Pictures of the camera that looks at its user are shown as in a mirror; frames are never mirrored. */
  get mirrored() {
    return this.facing === "user";
  }

  get on() {
    return this.stream !== null;
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new CameraError(t("camera.insecure"));
    this.stop();
    const video = { facingMode: this.facing, width: { ideal: 1280 }, height: { ideal: 720 } };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      throw new CameraError(t(REFUSALS[error.name] ?? "camera.failed"), error);
    }
    if (this.signal.aborted) return this.stop();
    this.video.srcObject = this.stream;
    await this.video.play();
    this.element.classList.toggle("mirrored", this.mirrored);
    this.element.style.setProperty("--ratio", String(this.video.videoWidth / this.video.videoHeight));
    await this.offerFlip();
  }

  /** A button for the other camera, where there are two. */
  async offerFlip() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const several = devices.filter((device) => device.kind === "videoinput").length > 1;
    if (!several || this.flipper) return;
    this.flipper = iconButton(t("camera.flip"), "flip", () => this.flip());
    this.flipper.classList.add("flipper");
    this.element.append(this.flipper);
  }

  async flip() {
    this.facing = this.mirrored ? "environment" : "user";
    await this.start();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    put(this.layer);
  }

  /** The current frame as a JPEG whose longest side is at most so many pixels. */
  async grab(longest = 1280, quality = 0.9) {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, longest / Math.max(width, height));
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    return toBlob(this.canvas, quality);
  }
}

/** A canvas as a JPEG. */
export function toBlob(canvas, quality) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/jpeg", quality);
  });
}
