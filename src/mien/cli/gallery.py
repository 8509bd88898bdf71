"""`mien gallery`: the people that mien knows; enrol them, correct what is wrong, and remove them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import galleries, gallery_import, gallery_key, gallery_name, gallery_reembed, options
from mien.cli.console import Commands, counted, note, print_json, print_rows, stdout
from mien.cli.enrol import enrol, moment
from mien.errors import MienError
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.gallery.gallery import Gallery
    from mien.gallery.records import Event, Face, Person

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="The people that mien knows. Without --gallery or MIEN_GALLERY: the file people.db in the current folder.",
)
app.command()(enrol)
app.command("import")(gallery_import.import_)
app.command()(gallery_name.name)
app.command()(gallery_reembed.reembed)
app.add_typer(gallery_key.app, name="key")

Who = Annotated[str, typer.Argument(metavar="NAME", help="A person: name or id.")]
FaceIds = Annotated[list[int], typer.Argument(metavar="FACE...", help="Numbers of faces; `show` lists them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_(
    gallery: galleries.GalleryUrl = galleries.URL, key: galleries.KeySource = None, as_json: options.Json = False
) -> None:
    """List the people of the gallery."""
    with galleries.open_to_look(gallery, key) as opened:
        people, nobodys, due = opened.people(), len(opened.unassigned()), len(opened.expired())
        if as_json:
            everybody = [person.to_dict() for person in people]
            print_json({"schema": 1, "gallery": opened.info.to_dict(), "people": everybody, "unassigned": nobodys})
            return
    columns, rows = ["name", "faces", "since", "consent", "expires"], [_person_row(person) for person in people]
    piped = not stdout().is_terminal
    if piped or any(person.name is None for person in people):  # on a terminal there is no room where a name does
        ids = [person.id if piped or person.name is None else "" for person in people]
        columns, rows = [*columns, "id"], [[*row, person] for row, person in zip(rows, ids, strict=True)]
    print_rows(columns, rows)
    if due:
        note(f"expired, and still known: {due}; `mien gallery purge` removes them")
    if nobodys:
        note(f"faces without a name: {nobodys}; `mien gallery show --nobody` lists them")


@app.command()
def show(
    who: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A person: name or id.")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="The faces without a name instead.")] = False,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Show a person with their faces, or the faces without a name."""
    if (who is None) != nobody:
        raise typer.BadParameter("either NAME or --nobody", param_hint="NAME")
    with galleries.open_to_look(gallery, key) as opened:
        person = None if who is None else opened.person(who)
        faces = opened.unassigned() if person is None else opened.faces(person.id)
        forbidden = [] if person is None else [face for face, other in opened.forbidden() if other == person.id]
    if as_json:
        print_json(_shown_dict(person, faces, forbidden))
        return
    if person is not None:
        say = _say if stdout().is_terminal else note  # a pipe gets the table alone
        say(_sentence(person))
    if forbidden:
        note(f"faces that were said not to show this person: {', '.join(map(str, forbidden))}")
    columns = ("face", "enrolled", "score", "box x1, y1, x2, y2", "crop", "source")
    print_rows(columns, [_face_row(face) for face in faces])


@app.command()
def rename(
    who: Who,
    name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="What to call them.")],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Give a person, or an unnamed group, another name."""
    _edit(gallery, key, lambda opened: opened.rename(who, name), as_json=as_json)


@app.command()
def merge(
    who: Who,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The person who stays: name or id.")],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Make two people one: NAME becomes INTO."""
    _edit(gallery, key, lambda opened: opened.merge(who, into), as_json=as_json)


@app.command()
def split(
    who: Who,
    faces: FaceIds,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NEW_NAME", help="What to call them; a group without a name if not.")
    ] = None,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Make faces of a person another person."""
    _edit(gallery, key, lambda opened: opened.split(who, faces, name), as_json=as_json)


@app.command()
def move(
    faces: FaceIds,
    to: Annotated[str | None, typer.Option("--to", metavar="NAME", help="Whom they show: name or id.")] = None,
    to_nobody: Annotated[bool, typer.Option("--to-nobody", help="Keep them without a name.")] = False,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Give faces to another person, or to nobody."""
    if (to is None) != to_nobody:
        raise typer.BadParameter("either --to NAME or --to-nobody", param_hint="--to")

    def edit(opened: Gallery) -> Person | None:
        opened.move(faces, to)
        return None if to is None else opened.person(to)

    _edit(gallery, key, edit, as_json=as_json)


@app.command()
def forbid(
    face: Annotated[int, typer.Argument(metavar="FACE", help="Number of a face; `show` lists them.")],
    who: Who,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Say that a face is not NAME: it leaves them, and faces like it are not answered NAME."""

    def edit(opened: Gallery) -> Person:
        opened.forbid(face, who)
        return opened.person(who)

    _edit(gallery, key, edit, as_json=as_json)


@app.command()
def undo(
    gallery: galleries.GalleryUrl = galleries.URL, key: galleries.KeySource = None, as_json: options.Json = False
) -> None:
    """Take back the last change; again for the one before. What was removed stays removed."""
    with galleries.open_gallery(gallery, key) as opened:
        before = {person.id: person for person in opened.people()}
        action = opened.undo()
        after = {person.id: person for person in opened.people()}
    changed = [one for one in (before | after).values() if before.get(one.id) != after.get(one.id)]
    if as_json:
        print_json({"schema": 1, "undone": action, "people": [one.id for one in changed]})
        return
    _say(f"undone: {action}")
    for one in changed:
        _say(f"now {_sentence(one)}" if one.id in after else f"gone: {one.name or one.id}")


@app.command()
def remove(
    who: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A person: name or id.")] = None,
    face: Annotated[
        int | None, typer.Option("--face", metavar="FACE", help="Remove one face instead; `show` lists them.")
    ] = None,
    yes: Yes = False,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Remove a person with all their faces, or one face, for good: from the file too."""
    if (who is None) == (face is None):
        raise typer.BadParameter("either NAME or --face FACE", param_hint="NAME")
    with galleries.open_gallery(gallery, key) as opened:
        if face is not None:
            _confirm(f"Remove face {face} for good?", yes=yes)
            opened.remove_face(face)
            gone: dict[str, Any] = {"face": face}
            text = f"removed: face {face}"
        else:
            person = opened.person(who or "")
            name = person.name or f"the unnamed group {person.id}"
            _confirm(f"Remove {printable(name)} and {_faces(person.faces)} for good?", yes=yes)
            opened.remove(person.id)
            gone = {"person": person.name, "id": person.id, "faces": person.faces}
            text = f"removed: {name} and {_faces(person.faces)}; the audit trail knows them by the id {person.id} only"
    if as_json:
        print_json({"schema": 1, "removed": gone})
    else:
        _say(text)


@app.command()
def consent(
    who: Who,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What they agreed to, in your words.")] = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="There is no consent (any more).")] = False,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Note what a person agreed to. It decides nothing by itself: `remove` those who withdraw."""
    if (text is None) != withdrawn:
        raise typer.BadParameter("either TEXT or --withdrawn", param_hint="TEXT")
    _edit(gallery, key, lambda opened: opened.consent(who, text), as_json=as_json)


@app.command()
def expire(
    who: Who,
    when: Annotated[str, typer.Argument(metavar="WHEN", help="A date (UTC), 30d for days from now, or never.")],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Set when `purge` is to remove a person."""
    until = moment(when)
    _edit(gallery, key, lambda opened: opened.expire(who, until), as_json=as_json)


@app.command()
def purge(
    yes: Yes = False,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Remove for good whoever has expired, and what earlier removals left in the file."""
    with galleries.open_gallery(gallery, key) as opened:
        due = opened.expired()
        if due:
            names = ", ".join(printable(person.name or f"unnamed {person.id}") for person in due[:10])
            more = f" and {len(due) - 10} more" if len(due) > 10 else ""
            _confirm(f"Remove {names}{more} for good?", yes=yes)
        gone = opened.purge()
    if as_json:
        print_json({"schema": 1, "removed": [{"person": one.name, "id": one.id, "faces": one.faces} for one in gone]})
        return
    _say("nobody has expired" if not gone else f"removed: {', '.join(one.name or one.id for one in gone)}")


@app.command()
def export(
    who: Who,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Write all that is known about a person: person.json, their embeddings, and the kept crops."""
    with galleries.open_gallery(gallery, key) as opened:
        record = opened.export(who, folder)
    if as_json:
        print_json(record)
    else:
        _say(f"written to {printable(folder)}: {_faces(len(record['faces']))}")


@app.command()
def audit(
    who: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this person: name or id.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="At most so many, the latest.")] = 100,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    as_json: options.Json = False,
) -> None:
    """Show who was enrolled, searched, changed and removed, by whom and when; people by id only."""
    with galleries.open_to_look(gallery, key) as opened:
        events = opened.audit(who)[-last:]
    if as_json:
        print_json({"schema": 1, "events": [event.to_dict() for event in events]})
        return
    print_rows(("event", "when (UTC)", "what", "by", "person", "details"), [_event_row(event) for event in events])


def _edit(url: str, key: str | None, edit: Callable[[Gallery], Person | None], *, as_json: bool) -> None:
    """Change something, and say how the person is now."""
    with galleries.open_gallery(url, key) as opened:
        person = edit(opened)
    if as_json:
        print_json({"schema": 1, "person": None if person is None else person.to_dict()})
    else:
        _say("done" if person is None else _sentence(person))


def _confirm(question: str, *, yes: bool) -> None:
    """Ask before something is gone.

    Raises:
        MienError: nobody said yes.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:  # nobody there to ask
        note("")  # ends the line of the question
        agreed = False
    if not agreed:
        raise MienError("nothing was removed (--yes removes without asking)")


def _say(text: str) -> None:
    stdout().print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)


def _sentence(person: Person) -> str:
    """A person in one line."""
    told = [person.name or "unnamed", _faces(person.faces), f"id {person.id}"]
    if person.consent is not None:
        told.append(f"consent: {person.consent} ({_day(person.consent_at)})")
    if person.withdrawn_at is not None:
        told.append(f"consent withdrawn ({_day(person.withdrawn_at)})")
    if person.expires is not None:
        told.append(f"expires {_minute(person.expires)} UTC")
    return "; ".join(told)


def _shown_dict(person: Person | None, faces: list[Face], forbidden: list[int]) -> dict[str, Any]:
    shown = [face.to_dict() for face in faces]
    if person is None:
        return {"schema": 1, "person": None, "faces": shown}
    return {"schema": 1, "person": person.to_dict(), "faces": shown, "not_this_person": forbidden}


def _person_row(person: Person) -> list[str]:
    return [
        printable(person.name or "(unnamed)"),
        str(person.faces),
        _day(person.created),
        _consent(person),
        _day(person.expires) or "-",
    ]


def _consent(person: Person) -> str:
    """When it was given, or withdrawn."""
    return f"withdrawn {_day(person.withdrawn_at)}" if person.withdrawn_at else _day(person.consent_at) or "-"


def _face_row(face: Face) -> list[str]:
    return [
        str(face.id),
        _day(face.created),
        "" if face.score is None else f"{face.score:.2f}",
        "" if face.box is None else ", ".join(f"{value:.0f}" for value in face.box),
        "yes" if face.has_crop else "no",
        printable(face.source or ""),
    ]


def _event_row(event: Event) -> list[str]:
    details = "; ".join(f"{name} {_listed(value)}" for name, value in event.details.items())
    return [str(event.id), _minute(event.at), event.action, printable(event.actor), event.person or "", details]


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _faces(count: int) -> str:
    return counted(count, "face")


def _day(when: datetime | None) -> str:
    return "" if when is None else f"{when:%Y-%m-%d}"


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"
