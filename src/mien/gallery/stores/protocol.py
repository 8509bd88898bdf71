"""What keeps a gallery. Stores know nothing of pictures, networks or rules: they keep records, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mien.gallery.records import Changes, Event, Face, GalleryInfo, Ids, NewFace, Person, Undo
from mien.types import FloatArray


class Cipher(Protocol):
    """Encrypts what is personal before it is written.

    Every method takes where the value belongs (gallery, kind, face), so that a value moved elsewhere does not open.
    """

    @property
    def key_id(self) -> str:
        """Names the key without giving it away."""
        ...

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt.

        Raises:
            GalleryKeyError: another key, another context, or changed bytes.
        """
        ...


class Reader(Protocol):
    """One consistent view of a gallery: what others write meanwhile is not seen. Lists come in order of creation."""

    @property
    def info(self) -> GalleryInfo:
        """What the gallery is."""
        ...

    def revision(self) -> int:
        """Grows by at least 1 with every change of a face or person."""
        ...

    def changes(self, since: int) -> Changes:
        """What an index that knows revision `since` lacks; everything where `since` is 0 or not known any more."""
        ...

    def count(self) -> tuple[int, int]:
        """How many people and how many faces there are."""
        ...

    def person(self, person: str) -> Person | None:
        """The person of that id."""
        ...

    def person_named(self, name: str) -> Person | None:
        """The person of that name, compared as it is written (after NFC)."""
        ...

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        """People in order of creation, at most `limit`, from behind the person of id `after` on."""
        ...

    def faces(
        self, *, person: str | None = None, unassigned: bool = False, after: int = 0, limit: int | None = None
    ) -> list[Face]:
        """Faces in order of their ids: of one person, of nobody (`unassigned`), or all."""
        ...

    def faces_by_id(self, ids: Sequence[int]) -> list[Face]:
        """The faces of those ids that exist, in order of id."""
        ...

    def faces_from(self, source_sha256: str) -> list[Face]:
        """The faces that come from a picture with these bytes."""
        ...

    def vectors(self, ids: Sequence[int]) -> FloatArray:
        """(N, D) float32 in the order of the ids.

        Raises:
            GalleryError: one does not exist.
        """
        ...

    def crop(self, face: int) -> bytes | None:
        """The kept crop of a face, an encoded picture."""
        ...

    def forbidden(self) -> list[tuple[int, str]]:
        """Pairs of a face and the id of a person whom it does not show."""
        ...

    def events(self, *, person: str | None = None, after: int = 0, limit: int | None = None) -> list[Event]:
        """The audit trail in order, of one person or all."""
        ...

    def last_undo(self) -> Undo | None:
        """How to take back the last change, if it can be."""
        ...


class Writer(Reader, Protocol):
    """One transaction: all of it is written when the block ends, none of it where the block raises.

    Whatever names a face or a person that does not exist raises GalleryError.
    """

    def add_person(self, person: Person) -> None:
        """Add somebody (`faces` is ignored).

        Raises:
            GalleryError: the name is taken.
        """
        ...

    def update_person(self, person: Person) -> None:
        """Replace all that is kept of the person of that id.

        Raises:
            GalleryError: the name is taken, or there is no such person.
        """
        ...

    def remove_person(self, person: str) -> None:
        """Remove somebody with their faces, what was forbidden, and all undo records that mention them."""
        ...

    def add_faces(self, faces: Sequence[NewFace]) -> Ids:
        """Add faces; the ids that they got, in order."""
        ...

    def move_faces(self, ids: Sequence[int], person: str | None) -> None:
        """Give faces to another person, or to nobody."""
        ...

    def remove_faces(self, ids: Sequence[int]) -> None:
        """Remove faces, with their vectors, crops and what was forbidden."""
        ...

    def replace_vectors(self, ids: Sequence[int], vectors: FloatArray) -> None:
        """Give faces other embeddings; the dimension may differ where all are replaced and `set_info` says so."""
        ...

    def set_info(self, info: GalleryInfo) -> None:
        """Replace what the gallery is (another embedder); its id stays, and its key changes by `rewrap` only."""
        ...

    def rewrap(self, cipher: Cipher | None) -> None:
        """Encrypt every vector and crop anew with another key, or with none; `info` says so, and later calls use it."""
        ...

    def forbid(self, face: int, person: str) -> None:
        """Note that a face does not show a person."""
        ...

    def allow(self, face: int, person: str) -> None:
        """Take that back."""
        ...

    def add_event(self, event: Event) -> None:
        """Add to the audit trail."""
        ...

    def push_undo(self, undo: Undo, *, keep: int = 20) -> None:
        """Note how to take back what this transaction does; only the last `keep` are kept."""
        ...

    def pop_undo(self) -> None:
        """Forget the last one."""
        ...


class Store(Protocol):
    """A gallery file or database. May be shared by threads; several processes may have one open."""

    @property
    def url(self) -> str:
        """Where it is, printable, without a password."""
        ...

    def read(self) -> AbstractContextManager[Reader]:
        """A consistent view.

        Raises:
            GalleryError: it cannot be read.
        """
        ...

    def write(self) -> AbstractContextManager[Writer]:
        """A transaction, one at a time over all processes. When the block has ended, it is on the disk.

        Raises:
            GalleryBusyError: others held it for longer than the store waits.
            GalleryError: it cannot be written.
        """
        ...

    def clean(self) -> None:
        """Leave nothing of what was removed in the files."""
        ...

    def nearest(self, vectors: FloatArray, k: int) -> tuple[FloatArray, Ids] | None:
        """Approximate search by the store itself, or None where it has none.

        Args:
            vectors: (Q, D).
            k: how many.

        Returns:
            (Q, k) distances and face ids, nearest first; -1 where there are fewer.
        """
        ...

    def close(self) -> None:
        """Let go of it; may be called twice."""
        ...
