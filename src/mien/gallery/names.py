"""Names of people: what is accepted, and how somebody is found by what a user types."""

from __future__ import annotations

import re
import unicodedata

from mien.errors import GalleryError, NotInGalleryError
from mien.gallery.records import Person
from mien.gallery.stores.protocol import Reader
from mien.ops.files import printable

MAX_NAME = 200
_ID = re.compile(r"[0-9a-f]{32}")
_JOINERS = "\u200c\u200d"  # written inside words of Persian, Hindi, Sinhala, ...
_JOINING = "\u0600"  # scripts that need them start here


def clean_name(name: str) -> str:
    """The name as it is kept: NFC, without white space around it.

    Raises:
        GalleryError: it is empty, longer than 200 characters, or has a character that cannot be seen: a control or
            formatting character, which could make one name look like another.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(cleaned) <= MAX_NAME:
        raise GalleryError(f"a name has 1 to {MAX_NAME} characters, this one has {len(cleaned)}")
    hidden = [c for i, c in enumerate(cleaned) if not c.isprintable() and not _joins(cleaned, i)]
    if hidden:
        raise GalleryError(f"a name holds only characters that can be seen, not U+{ord(hidden[0]):04X}; type it anew")
    if _ID.fullmatch(cleaned):
        raise GalleryError("a name cannot look like an id (32 hex digits); choose another")
    return cleaned


def _joins(name: str, i: int) -> bool:
    """Whether a joiner stands within a word of a script that needs it."""
    return name[i] in _JOINERS and 0 < i < len(name) - 1 and name[i - 1] >= _JOINING and name[i - 1] not in _JOINERS


def find(reader: Reader, who: str) -> Person:
    """The person of that name or id.

    Raises:
        NotInGalleryError: there is none.
    """
    name = unicodedata.normalize("NFC", who.encode("utf-8", "backslashreplace").decode()).strip()
    found = reader.person_named(name) or (reader.person(name) if _ID.fullmatch(name) else None)
    if found is None:
        near = namesakes(reader, name)
        hint = (
            f"do you mean {' or '.join(map(repr, map(printable, near)))}?"
            if near
            else "`mien gallery list` shows who is"
        )
        raise NotInGalleryError(f"nobody called {printable(name[:MAX_NAME])!r} in the gallery; {hint}")
    return found


def namesakes(reader: Reader, name: str) -> list[str]:
    """Other names that differ from this one by nothing but case, spaces, underscores, hyphens and points."""
    folded = _folded(name)
    return [
        person.name
        for person in reader.people()
        if person.name and person.name != name and _folded(person.name) == folded
    ]


def _folded(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFC", name).casefold())


def shown(person: Person) -> str:
    """What to call somebody in a message to whoever asked."""
    return person.name or f"unnamed {person.id}"
