"""Whose pictures lie where: a folder with one folder for each person, or a csv table. Neither is trusted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mien.datasets.tables import read_rows
from mien.errors import DataError, GalleryError
from mien.gallery.editing import now
from mien.gallery.names import clean_name
from mien.gallery.privacy import clean_consent, moment_of
from mien.ops.files import folder_error, is_folder, list_images, printable, subfolders

_ADDRESS = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)
COLUMNS = ("name", "path", "consent", "expires")


@dataclass(frozen=True)
class Entry:
    """A picture of somebody.

    Attributes:
        name: of the person, as the gallery keeps it; as it was written where `problem` is said.
        path: of the picture.
        shown: path as the source has it, for reports.
        consent: what the person agreed to, or None.
        expires: when the person is to be removed, in UTC, or None.
        problem: why the entry cannot be used, or "".
    """

    name: str
    path: Path
    shown: str
    consent: str | None = None
    expires: datetime | None = None
    problem: str = ""


def read_entries(source: str | os.PathLike[str], *, anywhere: bool = False) -> list[Entry]:
    """The pictures of a source, those of one person together, people in order of their first picture.

    What is wrong with one picture or row is said in its entry, and the others go on.

    Args:
        source: a folder that holds one folder for each person (whose pictures may lie in folders of their own), or a
            csv table in UTF-8 with a header: name, path, and, if wanted, consent (words) and expires (2027-12-31, or
            with a time; UTC where it names no zone). Paths are relative to the table.
        anywhere: whether the paths of a table may lead out of its folder.

    Raises:
        DataError: it is neither, cannot be read, or has no pictures.
        ImageError: the folder cannot be listed.
    """
    place = Path(source)
    if is_folder(place):
        entries = list(_folder_entries(place))
        if not entries:
            raise DataError(f"{printable(place)}: no folders with pictures in it; expected one folder for each person")
    else:
        entries = list(_table_entries(place, anywhere=anywhere))
        if not entries:
            raise DataError(f"{printable(place)}: no rows under its header")
    return _by_person(_refuse_other_terms(entries))


def _by_person(entries: list[Entry]) -> list[Entry]:
    first: dict[str, int] = {}
    for entry in entries:
        first.setdefault(entry.name, len(first))
    return sorted(entries, key=lambda entry: first[entry.name])


def _refuse_other_terms(entries: list[Entry]) -> list[Entry]:
    """What somebody agreed to is one thing: rows that say another than the first that says something are refused."""
    terms: dict[str, tuple[str | None, datetime | None]] = {}
    out = []
    for entry in entries:
        said = (entry.consent, entry.expires)
        if not entry.problem and said != (None, None) and terms.setdefault(entry.name, said) != said:
            problem = f"another row of {printable(entry.name)} has another consent or expiry"
            out.append(Entry(entry.name, entry.path, entry.shown, problem=problem))
        else:
            out.append(entry)
    return out


# Folders


def _folder_entries(root: Path) -> Iterator[Entry]:
    for folder in subfolders(root):
        problems: list[OSError] = []
        name, problem = _name(folder.name)
        for path in list_images([folder], on_error=problems.append):
            yield Entry(name, path, str(path.relative_to(root)), problem=problem)
        for error in problems:
            yield Entry(name, folder, folder.name, problem=str(folder_error(error)))


def _name(text: str) -> tuple[str, str]:
    """The name, and what is wrong with it."""
    try:
        return clean_name(text), ""
    except GalleryError as error:
        return text, f"not a name: {error}"


# Tables


def _table_entries(table: Path, *, anywhere: bool) -> Iterator[Entry]:
    called = printable(table)
    try:
        if not table.is_file():
            raise DataError(f"{called}: {'not a file or a folder' if table.exists() else 'no such file or folder'}")
        with table.open("rb") as file:
            rows = read_rows(file, called)
            header = [title.strip().casefold() for title in next(rows, (0, []))[1]]
            _check_header(header, called)
            folder = Path(os.path.realpath(table)).parent
            for line, row in rows:
                entry = _row_entry(dict(zip(header, row, strict=False)), line, folder, anywhere=anywhere)
                yield _refuse_surplus(entry, row, header, line)
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise DataError(f"{called}: cannot be read ({reason})") from error


def _check_header(header: list[str], called: str) -> None:
    missing = [column for column in ("name", "path") if column not in header]
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if missing or twice:
        what = f"no column {missing[0]!r}" if missing else f"column {twice[0]!r} twice"
        columns = f"{', '.join(COLUMNS)} (at least the first two)"
        raise DataError(f"{called}: {what}; its first line must name the columns, with commas between: {columns}")


def _refuse_surplus(entry: Entry, row: list[str], header: list[str], line: int) -> Entry:
    """A comma that is not in quotes moves the fields behind it: a consent is cut off, an expiry is read from it."""
    if not any(field.strip() for field in row[len(header) :]):
        return entry
    problem = f'line {line}: {len(row)} fields, the header has {len(header)}; a field with a comma needs quotes: "a, b"'
    return Entry(entry.name, entry.path, entry.shown, problem=problem)


def _row_entry(row: dict[str, str], line: int, folder: Path, *, anywhere: bool) -> Entry:
    """One row; what is wrong with it is its problem, in words that name the line."""
    shown = row.get("path", "").strip()
    name, problem = _name(row.get("name", ""))
    path, astray = _picture(shown, folder, anywhere=anywhere)
    consent, unclear = _consent(row.get("consent", ""))
    expires, wrong_date = _expiry(row.get("expires", ""))
    problem = problem or astray or unclear or wrong_date
    if problem:
        return Entry(name, path, shown, problem=f"line {line}: {problem}")
    return Entry(name, path, shown, consent, expires)


def _picture(text: str, folder: Path, *, anywhere: bool) -> tuple[Path, str]:
    """The picture that a path means, and what is wrong with it. Links count as where they lead."""
    if not text or "\0" in text:
        return folder, "no path"
    path = folder / text
    if _ADDRESS.match(text):
        return path, "a web address; save the picture, and give the path of the file"
    if not anywhere and not Path(os.path.realpath(path)).is_relative_to(folder):
        return path, "the path leads out of the table's folder; allow it by --anywhere if you trust the table"
    return path, ""


def _consent(text: str) -> tuple[str | None, str]:
    try:
        return (clean_consent(text) if text.strip() else None), ""
    except GalleryError as error:
        return None, str(error)


def _expiry(text: str) -> tuple[datetime | None, str]:
    """When, in UTC: of a day alone, its beginning."""
    if not text.strip():
        return None, ""
    try:
        moment = moment_of(text.strip())
    except ValueError:
        return None, f"{printable(text.strip()[:40])!r} is no date; write it as 2027-12-31"
    if moment <= now():
        return None, f"expires {moment.date()}, which has passed"
    return moment, ""
