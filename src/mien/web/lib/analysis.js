/** Pictures to what is known of their faces. */

import { post, query } from "./api.js";
import { preferences } from "./preferences.js";
import { does, knowsPeople } from "./server.js";

/** What is asked of faces, as the server wants it. */
function tasks() {
  const wanted = ["detect", "pose", "expression", "quality"];
  if (preferences.attributes) wanted.push("age", "gender");
  return wanted.filter(does).join(",");
}

/** Faces of a picture, with who they are where somebody may be known. */
export function lookAt(blob, signal) {
  return post(`/v1/${knowsPeople() ? "identify" : "analyze"}${query({ only: tasks() })}`, { body: blob, signal });
}

/** Who the faces of a picture are. */
export const identify = (blob, signal) => post("/v1/identify", { body: blob, signal });

/** Enrol pictures as somebody; `fields`: name, consent, expires. What was not usable is in `failed`. */
export function enrol(pictures, fields, { to = null, largest = true, signal } = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  pictures.forEach((picture, i) => form.append("image", picture, picture.name ?? `picture-${i + 1}.jpg`));
  const path = to === null ? "/v1/gallery/people" : `/v1/gallery/people/${encodeURIComponent(to)}/faces`;
  return post(`${path}${query({ largest })}`, { form, signal });
}
