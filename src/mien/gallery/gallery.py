"""Gallery: remembers people by the embeddings of their faces, says who a face is, and can be corrected."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mien.errors import GalleryBusyError, GalleryError, GalleryModelError, ModelError, NotInGalleryError
from mien.gallery import editing, enrolment, privacy, rekeying, undoing
from mien.gallery.decision import FPIR, Identification, Rule, decide
from mien.gallery.editing import Change
from mien.gallery.encryption import read_cipher
from mien.gallery.enrolment import Enrolment, Source, Terms
from mien.gallery.names import find
from mien.gallery.records import Event, Face, GalleryInfo, NewFace, Person
from mien.gallery.rules import rule_for
from mien.gallery.search import cache as search_cache
from mien.gallery.search import graph as graphs
from mien.gallery.search.searching import Searcher, searches_itself
from mien.gallery.stores.opening import open_store
from mien.gallery.stores.protocol import Reader, Store, Writer
from mien.models import registry
from mien.models.base import Record
from mien.types import Faces, FloatArray

if TYPE_CHECKING:
    from mien.models.embedding import FaceEmbedder

EMBEDDER = "dlib-resnet"
URL = "people.db"
"""Where a gallery is if nobody says where: a file in the current folder, so that its owner sees it."""
_ACTING: ContextVar[str | None] = ContextVar("acting", default=None)


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Who works with any gallery until the block ends, in this thread or task: for a gallery that many callers share.

    Args:
        actor: for the audit trail, instead of the gallery's own.
    """
    token = _ACTING.set(actor)
    try:
        yield
    finally:
        _ACTING.reset(token)


class Gallery:
    """People, known by the embeddings of their faces. Make one with `Gallery.open`.

    It may be shared by threads, and several processes may have one gallery open. Every change is one transaction with
    one line in the audit trail; when the method returns, it is on the disk. People are named by their name or their
    id. Names are kept in Unicode's form NFC: 1 to 200 characters that can be seen.

    Args:
        store: what keeps it.
        actor: who works with it, for the audit trail.
        audit_searches: whether `identify` writes to the audit trail.
        readonly: whether nothing is written, to the audit trail either.
        cache: file in which search may keep embeddings while the gallery is not encrypted, see `search_cache`; or None.
        approximate: whether search is; None: above a million faces, see `Gallery.open`.
    """

    def __init__(
        self,
        store: Store,
        *,
        actor: str | None = None,
        audit_searches: bool = True,
        readonly: bool = False,
        cache: Path | None = None,
        approximate: bool | None = None,
    ) -> None:
        self._store = store
        self._own_actor = actor or _user()
        self._audit_searches = audit_searches
        self._readonly = readonly
        self._cache = cache
        self._approximate = approximate
        with store.read() as reader:
            self._info = reader.info
        self._searcher: Searcher | None = None
        self._starting = Lock()

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str] = URL,
        *,
        embedder: str | FaceEmbedder | None = EMBEDDER,
        mode: str | None = "fast",
        key: str | None = None,
        create: bool = True,
        keep_crops: bool = False,
        timeout: float = 10.0,
        readonly: bool = False,
        actor: str | None = None,
        audit_searches: bool = True,
        approximate: bool | None = None,
    ) -> Self:
        """Open a gallery, and make it where there is none.

        Args:
            url: path of a SQLite file, or `postgresql://...`.
            embedder: the model whose embeddings it is to hold, by name or as loaded; None takes what it was made with.
            mode: "fast" or "accurate", see `FaceAnalyzer`; a loaded embedder has its own; None takes what it was made
                with.
            key: where the key of an encrypted gallery is ("file:PATH", "env:NAME" or "keyring:NAME"); a new gallery is
                then encrypted: embeddings and crops, not names.
            create: whether to make it where there is none.
            keep_crops: whether a new gallery keeps the crops that `enrol` is given.
            timeout: seconds to wait while others write.
            readonly: write nothing: no change, and no line in the audit trail either.
            actor: who works with it, for the audit trail; the user of the operating system by default.
            audit_searches: whether `identify` writes a line to the audit trail.
            approximate: search a graph of faces rather than all of them: far faster from 100,000 faces on, and now and
                then somebody is missed. PostgreSQL searches by itself, unless the gallery is encrypted. None: only
                where there are more than a million faces.

        Raises:
            GalleryError: there is none (and `create` is False), it is damaged, or no gallery; or approximate search
                needs what is not installed.
            GalleryKeyError: the key is missing or wrong.
            GalleryModelError: it holds embeddings of another model or mode.
            UnknownModelError: no such embedder.
        """
        record, mode = _model(embedder, mode)
        cipher = read_cipher(key)
        made = None
        if create and not readonly:
            new = record or registry.entry(EMBEDDER, "embedding").record
            made = _new_info(new, mode or "fast", cipher.key_id if cipher else None, keeps_crops=keep_crops)
        store = open_store(os.fspath(url), create=made, cipher=cipher, timeout=timeout, readonly=readonly)
        try:
            gallery = cls(
                store,
                actor=actor,
                audit_searches=audit_searches,
                readonly=readonly,
                cache=None if readonly else search_cache.cache_of(os.fspath(url)),
                approximate=approximate,
            )
            gallery._check_model(record, mode)
            gallery._prepare_search()
        except BaseException:
            store.close()
            raise
        return gallery

    def close(self) -> None:
        """Let go of it; may be called twice."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Gallery({self._store.url!r}, {self._info.embedder}, {self._info.mode})"

    @property
    def info(self) -> GalleryInfo:
        """What it is: embedder, mode, dimension, ..."""
        return self._info

    def check(self, embedder: FaceEmbedder) -> None:
        """Refuse embeddings of a model that is not the gallery's.

        Raises:
            GalleryModelError: it holds embeddings of another model or mode.
        """
        self._check_model(embedder.record, embedder.mode)

    @property
    def url(self) -> str:
        """Where it is, printable, without a password."""
        return self._store.url

    @property
    def store(self) -> Store:
        """What keeps it; for those who work on records (import, reembedding)."""
        return self._store

    @property
    def actor(self) -> str:
        """Who works with it, for the audit trail; see `acting_as`."""
        return _ACTING.get() or self._own_actor

    # Who is it

    def enrol(
        self,
        name: str,
        faces: FloatArray | Faces | Sequence[NewFace],
        *,
        sources: Sequence[Source | None] | None = None,
        crops: Sequence[bytes | None] | None = None,
        consent: str | None = None,
        expires: datetime | None = None,
    ) -> Enrolment:
        """Add faces to a person, who is made where nobody has that name.

        A face that the gallery has already is left out: one at the same place in a picture with the same bytes
        (whoever it belongs to), or one so like a face of this person that it is a copy of its picture.

        Args:
            name: of the person.
            faces: (N, D) float32 embeddings, N >= 1; or `Faces` with embeddings, of which boxes, landmarks and scores
                are kept as well; or `NewFace`s.
            sources: N paths or URLs of the pictures; a file that is there is read, to know it again.
            crops: N encoded pictures (PNG or JPEG) of the faces; kept if the gallery keeps crops.
            consent: what the person agreed to, in your words.
            expires: when the person is to be removed by `purge`, with time zone.

        Raises:
            GalleryError: the name cannot be one; or the person would be new, and all the faces are known.
            GalleryModelError: the embeddings have another length than the gallery's.
            NoFaceError: there are no faces.
            ValueError: not as many sources or crops as faces; not finite; a time without its zone.
        """
        made = enrolment.as_new_faces(faces, sources, crops)
        [told] = self._enrol([(name, made)], Terms(consent, expires))
        return told

    def enrol_many(
        self,
        named: Sequence[tuple[str, FloatArray | Faces | Sequence[NewFace]]],
        *,
        consent: str | None = None,
        expires: datetime | None = None,
    ) -> list[Enrolment]:
        """Enrol many people in one transaction, all of them or none: far faster than one by one.

        `undo` takes back one name at a time, the last one first.

        Args:
            named: a name and the faces that get it, see `enrol`; a name may come twice.
            consent: what they all agreed to, in your words.
            expires: when they are to be removed by `purge`, with time zone.

        Returns:
            What became of each.

        Raises:
            GalleryError, GalleryModelError, NoFaceError, ValueError: as `enrol`.
        """
        made = [(name, enrolment.as_new_faces(faces, None, None)) for name, faces in named]
        return self._enrol(made, Terms(consent, expires))

    def identify(
        self, embeddings: FloatArray, *, k: int = 5, fpir: float = FPIR, threshold: float | None = None
    ) -> list[Identification]:
        """Say who each probe is; `person` None, unknown, is an answer like any other.

        A probe that is nearer to a face which was said not to be NAME (`forbid`) than to any face of NAME is not
        answered NAME.

        Args:
            embeddings: (Q, D) float32 of probes, from the gallery's embedder and mode.
            k: how many candidates to list.
            fpir: the share of strangers who may be given a name, for a gallery of this size.
            threshold: similarity to reach, set by hand, instead of `fpir`; an embedder that nobody has measured needs
                it, and its answers have no probability.

        Returns:
            One answer for each probe.

        Raises:
            GalleryModelError: the embeddings have another length than the gallery's, or it was embedded anew.
            ModelError: the embedder was never calibrated, and there is no threshold.
            ValueError: `fpir`, `threshold` or `k` is out of range; embeddings are not finite.
        """
        if k < 1:
            raise ValueError(f"k is {k}, at least 1 candidate is listed")
        if threshold is not None and not -1 <= threshold <= 1:
            raise ValueError(f"a threshold of {threshold} is no similarity; it lies between -1 and 1")
        probes = enrolment.check_vectors(embeddings, self._info)
        rule = self.rule() if threshold is None else self._comparing()
        with self._store.read() as reader:
            self.check_same(reader)
            ranked, roster = self._search(rule).rank(reader, probes, k)
        answers = decide(rule, ranked, roster.people, faces=roster.faces, fpir=fpir, threshold=threshold)
        if self._audit_searches:
            self._note_search(answers)
        return answers

    def rule(self) -> Rule:
        """What similarities mean in this gallery.

        Raises:
            ModelError: the embedder was never measured.
        """
        info = self._info
        record = registry.records().get(info.embedder)
        if record is None or record.weights.sha256 != info.embedder_sha256:
            raise ModelError(
                f"nobody has measured what similarities of {info.embedder} mean: name the one to reach (`mien identify"
                " --threshold`), or `mien gallery reembed` with a model of `mien models list`"
            )
        return rule_for(record, info.mode)

    def people_near(
        self, reader: Reader, embeddings: FloatArray, k: int, within: float, *, follow: bool = True
    ) -> list[list[str]]:
        """The people whose faces are nearest, for those who look closer then; the audit trail does not note it.

        Args:
            reader: of the gallery's store.
            embeddings: (Q, D) float32.
            k: how many people.
            within: distance beyond which nobody has to be listed, as embeddings are compared (`Rule.prepare`).
            follow: whether to learn of changes before; False for a caller that knows its own.

        Returns:
            For each up to k ids of people, nearest first; one may be of somebody who is gone.
        """
        return self._search(self._comparing()).people_near(reader, embeddings, k, within, follow=follow)

    # What it holds

    def count(self) -> tuple[int, int]:
        """How many people and how many faces there are."""
        with self._store.read() as reader:
            return reader.count()

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        """People in order of creation, at most `limit`, from behind the person of id `after` on."""
        with self._store.read() as reader:
            return reader.people(after=after, limit=limit)

    def person(self, who: str) -> Person:
        """One person.

        Raises:
            GalleryError: nobody has that name or id.
        """
        with self._store.read() as reader:
            return find(reader, who)

    def faces(self, who: str | None = None, *, after: int = 0, limit: int | None = None) -> list[Face]:
        """Faces in order of enrolment: of one person, or all; at most `limit`, from behind face `after` on.

        Raises:
            GalleryError: nobody has that name or id.
        """
        with self._store.read() as reader:
            person = None if who is None else find(reader, who).id
            return reader.faces(person=person, after=after, limit=limit)

    def unassigned(self, *, after: int = 0, limit: int | None = None) -> list[Face]:
        """Faces that belong to nobody, in order of enrolment."""
        with self._store.read() as reader:
            return reader.faces(unassigned=True, after=after, limit=limit)

    def vectors(self, faces: Sequence[int]) -> FloatArray:
        """(N, D) float32: the embeddings of faces, in their order.

        Raises:
            GalleryError: one does not exist.
        """
        with self._store.read() as reader:
            return reader.vectors(faces)

    def crop(self, face: int) -> bytes | None:
        """The kept crop of a face, an encoded picture; None where none was kept."""
        with self._store.read() as reader:
            return reader.crop(face)

    def forbidden(self) -> list[tuple[int, str]]:
        """Pairs of a face and the id of a person whom it does not show."""
        with self._store.read() as reader:
            return reader.forbidden()

    def audit(self, who: str | None = None, *, after: int = 0, limit: int | None = None) -> list[Event]:
        """The audit trail, oldest first: who was enrolled, searched, changed and removed, by whom and when.

        Args:
            who: name or id of one person; the id of one who was removed is known here still.
            after: only events behind this one.
            limit: at most so many.

        Raises:
            GalleryError: nobody has that name, and it is no id.
        """
        with self._store.read() as reader:
            if who is None:
                return reader.events(after=after, limit=limit)
            known = who.isascii() and reader.events(person=who, limit=1)
            if known:
                return reader.events(person=who, after=after, limit=limit)
            return reader.events(person=self._traced(reader, who), after=after, limit=limit)

    def _traced(self, reader: Reader, who: str) -> str:
        """The id of somebody of whom the audit trail is asked."""
        try:
            return find(reader, who).id
        except GalleryError as error:
            raise NotInGalleryError(
                f"{error}; of people who were removed the audit trail has no name, only the id that `mien gallery"
                " remove` said: `mien gallery audit` without a name lists all"
            ) from error

    # Corrections

    def rename(self, who: str, name: str) -> Person:
        """Give a person, or a group that nobody has named yet, another name.

        Raises:
            GalleryError: there is no such person, the name is taken, or cannot be one.
        """
        return self._edited(lambda writer: editing.rename(writer, who, name))

    def merge(self, who: str, into: str) -> Person:
        """Make two people one, who keeps the name of `into`, its consent (or the only one), and the earlier expiry.

        Where one of the two withdrew their consent, what was said last holds.

        Raises:
            GalleryError: there is no such person, or a face of one was said not to show the other.
        """
        return self._edited(lambda writer: editing.merge(writer, who, into))

    def split(self, who: str, faces: Sequence[int], name: str | None = None) -> Person:
        """Make faces of a person another person, on the same terms; without a name, a group to be named later.

        Raises:
            GalleryError: a face is not of this person, or the name is taken or cannot be one.
        """
        return self._edited(lambda writer: editing.split(writer, who, faces, name))

    def move(self, faces: Sequence[int], to: str | None) -> None:
        """Give faces to a person, or to nobody (None). It lifts what `forbid` said of them and this person.

        Raises:
            GalleryError: there is no such person or face.
        """
        self._change(lambda writer: editing.move(writer, faces, to))

    def forbid(self, face: int, who: str) -> None:
        """Note that a face does not show a person: it leaves them if it was theirs, and later answers respect it.

        Raises:
            GalleryError: there is no such person or face, or that was noted before.
        """
        self._change(lambda writer: editing.forbid(writer, face, who))

    def undo(self) -> str:
        """Take back the last change of anybody; again for the one before (the last 20 are known).

        Returns:
            What was taken back: "rename", "merge", ...

        Raises:
            GalleryError: there is none, or the last change was a removal: what is removed is gone.
        """
        with self._store.write() as writer:
            undone, removed = undoing.take_back(writer)
            event = Event(
                editing.now(), "undo", self.actor, details={"of": undone.action, "people": list(undone.people)}
            )
            writer.add_event(event)
        if removed:
            self.clean()
        return undone.action

    # Removal, consent, and what is known about somebody

    def remove_face(self, face: int) -> None:
        """Remove one face for good: from the file too. It cannot be undone, nor can what was done before it.

        Raises:
            GalleryError: there is no such face.
        """
        self._remove(lambda writer: [editing.remove_faces(writer, [face])])

    def remove(self, who: str) -> Person:
        """Remove a person with all their faces for good: from the file too. It cannot be undone.

        Returns:
            Who it was.

        Raises:
            GalleryError: there is no such person.
        """
        [removed] = self._remove(lambda writer: [editing.remove(writer, who)])
        return removed

    def purge(self, *, at: datetime | None = None) -> list[Person]:
        """Remove everybody whose time has expired, for good, and leave nothing of earlier removals in the file.

        Args:
            at: when, with time zone; now by default.

        Returns:
            Who it was.
        """
        when = editing.now() if at is None else privacy.as_utc(at)
        return self._remove(lambda writer: privacy.purge(writer, when))

    def expired(self, *, at: datetime | None = None) -> list[Person]:
        """Whom `purge` would remove then."""
        with self._store.read() as reader:
            return privacy.expired(reader, editing.now() if at is None else privacy.as_utc(at))

    def consent(self, who: str, text: str | None, *, at: datetime | None = None) -> Person:
        """Note what a person agreed to, or that there is no consent any more (None): `Person.withdrawn_at` is when.

        Args:
            who: name or id.
            text: in your words, up to 2,000 characters.
            at: when they did, with time zone; now by default.

        Raises:
            GalleryError: there is no such person, or the text is empty or too long.
        """
        return self._edited(lambda writer: privacy.consent(writer, who, text, at))

    def expire(self, who: str, when: datetime | None) -> Person:
        """Set when a person is to be removed by `purge`, with time zone; None: never.

        Raises:
            GalleryError: there is no such person.
        """
        return self._edited(lambda writer: privacy.expire(writer, who, when))

    def export(self, who: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """All that is known about one person.

        Args:
            who: name or id.
            folder: where to write it: person.json (what is returned), vectors.npy ((N, D) float32, in the order of
                the faces there), and the kept crops as face-ID.png or .jpg; must not exist, or be empty.

        Returns:
            A JSON-ready dict: the person, their faces, what was forbidden, and their part of the audit trail.

        Raises:
            GalleryError: there is no such person, or the folder cannot be written.
        """
        with self._store.read() as reader:
            person = find(reader, who)
            record, vectors, crops = privacy.known(reader, person)
        if folder is not None:
            privacy.write_known(Path(folder), record, vectors, crops)
        self._note("export", person.id)
        return record

    def rekey(self, key: str | None) -> None:
        """Encrypt all embeddings and crops anew with another key, for the first time, or no longer.

        One transaction: whatever interrupts it, the gallery has the old key or the new one. Whoever has it open opens
        it anew. Nothing stays in its files that the old key, or no key, would open.

        Args:
            key: where the new key is, see `open`; None: without encryption from now on.

        Raises:
            GalleryKeyError: the new key is missing, or the one that the gallery has.
            GalleryBusyError: others are using it for longer than we wait.
        """
        cipher = read_cipher(key)
        with self._starting:
            cache, self._cache, self._searcher = self._cache, None, None  # who searches meanwhile leaves no trace
        try:
            with self._store.write() as writer:
                info = rekeying.rekey(writer, cipher, self.actor)
            self._info = info
        finally:
            with self._starting:
                self._cache, self._searcher = cache, None
        self.clean("the key was changed")

    def clean(self, done: str = "removed") -> None:
        """Leave nothing in the files of what was removed; for those who remove by `store`.

        Args:
            done: what was, for the message.

        Raises:
            GalleryBusyError: others are using it for longer than we wait.
            GalleryError: the disk is full, say.
        """
        try:
            try:
                self._store.clean()
            finally:
                self._clean_cache()
        except GalleryBusyError as error:
            raise GalleryBusyError(
                f"{done}; but others use {self._store.url}, so traces may be left in its file:"
                " `mien gallery purge` clears them later"
            ) from error
        except GalleryError as error:
            why = str(error).removesuffix("; nothing was changed")
            raise GalleryError(
                f"{done}; but traces may be left in the file ({why}): `mien gallery purge` clears them later"
            ) from error

    # How

    def _enrol(self, named: Sequence[tuple[str, Sequence[NewFace]]], terms: Terms) -> list[Enrolment]:
        """Enrolments in one transaction, each a change of its own."""
        told = []
        with self._store.write() as writer:
            self.check_same(writer)
            for name, faces in named:
                change, enrolled = enrolment.enrol(writer, name, faces, terms)
                if change is not None:
                    editing.note(writer, change, self.actor)
                told.append(enrolled)
            return [replace(one, person=writer.person(one.person.id) or one.person) for one in told]

    def _change(self, edit: Callable[[Writer], Change]) -> Change:
        """One change that can be undone."""
        with self._store.write() as writer:
            change = edit(writer)
            editing.note(writer, change, self.actor)
        return change

    def _edited(self, edit: Callable[[Writer], Change]) -> Person:
        """One change of a person; who it was about, as they are then."""
        person = self._change(edit).person
        assert person is not None  # noqa: S101 - for the type checker
        return person

    def _remove(self, edit: Callable[[Writer], list[Change]]) -> list[Person]:
        """Removals, which cannot be undone; whom they were about. The file is clean when this returns."""
        with self._store.write() as writer:
            changes = edit(writer)
            for change in changes:
                editing.note(writer, change, self.actor)
        self.clean()
        return [change.person for change in changes if change.person is not None]

    def _clean_cache(self) -> None:
        if self._cache is None:
            return
        if self._info.key_id is not None:
            search_cache.erase(self._cache)
            return
        try:
            searcher = self._searcher or Searcher(self._store, self._info, self.rule(), cache=self._cache)
        except ModelError:
            searcher = None
        search_cache.clear_removed(self._cache, self._store, self._info, searcher)

    def _comparing(self) -> Rule:
        """How embeddings are compared here, also where nobody knows what their similarities mean."""
        try:
            return self.rule()
        except ModelError:
            return Rule.unmeasured("cosine" if self._info.metric == "cosine" else "l2")

    def _search(self, rule: Rule) -> Searcher:
        with self._starting:
            if self._searcher is None:
                cache = self._cache if self._info.key_id is None else None
                self._searcher = Searcher(self._store, self._info, rule, cache=cache, approximate=self._approximate)
            return self._searcher

    def _prepare_search(self) -> None:
        """Clear what somebody was kept from clearing when they encrypted the gallery, and refuse what cannot be.

        Raises:
            GalleryError: approximate search needs what is not installed.
        """
        if self._cache is not None and self._info.key_id is not None and self._cache.exists():
            search_cache.erase(self._cache)
        if self._approximate and not searches_itself(self._store):
            graphs.check_installed()

    def check_same(self, reader: Reader) -> None:
        """Refuse to go on where somebody has embedded the gallery anew since it was opened; see `store`.

        Raises:
            GalleryModelError: somebody has.
        """
        now, then = reader.info, self._info
        if (now.embedder_sha256, now.mode) != (then.embedder_sha256, then.mode):
            raise GalleryModelError(
                f"{self.url} was embedded anew by {now.embedder} ({now.mode}) since it was opened: open it again"
            )

    def _note(self, action: str, person: str | None = None, details: dict[str, Any] | None = None) -> None:
        """Add a line to the audit trail, where nothing changes otherwise."""
        if not self._readonly:
            with self._store.write() as writer:
                writer.add_event(Event(editing.now(), action, self.actor, person, details or {}))

    def _note_search(self, answers: Sequence[Identification]) -> None:
        people = sorted({answer.person for answer in answers if answer.person is not None})
        self._note("identify", details={"probes": len(answers), "people": people})

    def _check_model(self, record: Record | None, mode: str | None) -> None:
        info = self._info
        same = record is None or record.weights.sha256 == info.embedder_sha256
        if same and mode in (None, info.mode):
            return
        name, mode = record.name if record else info.embedder, mode or info.mode
        option = " --accurate" if mode == "accurate" else ""
        raise GalleryModelError(
            f"{self.url} holds embeddings of {info.embedder} ({info.mode}), not of {name} ({mode}): open it with that,"
            f" or embed its faces anew: mien gallery reembed --embedder {name}{option}"
        )


def _user() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name
        return "unknown"


def _model(embedder: str | FaceEmbedder | None, mode: str | None) -> tuple[Record | None, str | None]:
    """The record and mode that are asked for.

    Raises:
        UnknownModelError: no such model.
        ValueError: no such mode.
    """
    if mode not in ("fast", "accurate", None):
        raise ValueError(f"mode is {mode!r}, expected 'fast' or 'accurate'")
    if embedder is None:
        return None, mode
    if isinstance(embedder, str):
        return registry.entry(embedder, "embedding").record, mode
    return embedder.record, embedder.mode


def _new_info(record: Record, mode: str, key_id: str | None, *, keeps_crops: bool) -> GalleryInfo:
    """What a new gallery is.

    Raises:
        ModelError: the model is no embedder.
    """
    if record.dimensions is None or record.metric is None:
        raise ModelError(f"model {record.name!r} is no embedder")
    return GalleryInfo(
        id=uuid.uuid4().hex,
        embedder=record.name,
        embedder_sha256=record.weights.sha256,
        mode=mode,
        dimension=record.dimensions,
        metric=record.metric,
        created=editing.now(),
        key_id=key_id,
        keeps_crops=keeps_crops,
    )
