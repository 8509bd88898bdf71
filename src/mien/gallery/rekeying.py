"""Rekeying: a gallery gets another key, its first one, or none."""

from __future__ import annotations

from mien.errors import GalleryKeyError
from mien.gallery.editing import now
from mien.gallery.records import Event, GalleryInfo
from mien.gallery.stores.protocol import Cipher, Writer


def rekey(writer: Writer, cipher: Cipher | None, actor: str) -> GalleryInfo:
    """Encrypt every embedding and crop anew, and note it in the audit trail; see `Gallery.rekey`.

    Args:
        writer: the transaction.
        cipher: with the new key; None: without encryption.
        actor: who does it.

    Returns:
        What the gallery is then.

    Raises:
        GalleryKeyError: the gallery has that key already.
    """
    key_id = None if cipher is None else cipher.key_id
    before = writer.info.key_id
    if key_id == before:
        state = "is not encrypted" if key_id is None else f"is encrypted with this key (of id {key_id})"
        raise GalleryKeyError(f"the gallery {state} already; nothing was changed")
    writer.rewrap(cipher)
    writer.add_event(Event(now(), "rekey", actor, details={"key": key_id, "before": before}))
    return writer.info
