/** What the server can do, and what the caller may. */

import { get } from "./api.js";

const INCLUDES = {
  admin: ["admin", "gallery:write", "gallery:read", "analyze"],
  "gallery:write": ["gallery:write", "gallery:read"],
};

/** Filled in by `connect`. `gallery` is null where none is served, or may not be read. */
export const server = { info: null, gallery: null };

export async function connect() {
  server.info = await get("/v1/info");
  await refreshGallery();
}

/** Ask again how many people there are. */
export async function refreshGallery() {
  server.gallery = server.info.gallery && can("gallery:read") ? await get("/v1/gallery") : null;
}

/** Whether the caller may do something. */
export const can = (scope) => server.info.scopes.some((own) => own === scope || INCLUDES[own]?.includes(scope));

/** Whether the server does something: "expression", "age", ... */
export const does = (task) => server.info.tasks.includes(task);

/** Whether people can be recognised: of a network of one's own nobody knows what its similarities mean. */
export const recognises = () => server.gallery?.measured ?? false;

/** Whether somebody is there to be recognised. */
export const knowsPeople = () => recognises() && server.gallery.people > 0;

/** Whether there is a gallery to read, and to write. */
export const readsGallery = () => server.gallery !== null;
export const writesGallery = () => server.gallery !== null && can("gallery:write");
