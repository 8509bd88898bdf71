/** Pictures and files that only a request with a key can fetch. */

import { get } from "./api.js";
import { h } from "./dom.js";

/** An image of the server; it fades in, or `fallback` takes its place. */
export function serverImage(path, alt, signal, fallback = null) {
  const image = h("img", { alt, decoding: "async" });
  get(path, { as: "blob", signal }).then((blob) => showBlob(image, blob, signal)).catch(() => {
    if (fallback) image.replaceWith(fallback);
  });
  return image;
}

/** Show a blob in an image or a video until the signal ends it. */
export function showBlob(element, blob, signal) {
  const url = URL.createObjectURL(blob);
  element.src = url;
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
}

/** Save a file of the server under a name. */
export async function download(path, name) {
  const url = URL.createObjectURL(await get(path, { as: "blob" }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A decoded picture, upright; rejected where the browser cannot show it. */
export async function decode(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image" });
}
