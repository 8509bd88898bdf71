"""`mien gallery enrol`: from pictures of one person to their faces in the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import galleries, options, pictures
from mien.cli.console import EXIT_BAD_INPUT, counted, note, print_json, report_error, stdout
from mien.errors import NoFaceError
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.gallery.enrolment import Enrolment
    from mien.gallery.gallery import Gallery
    from mien.gallery.records import NewFace
    from mien.many import FileResult


def moment(text: str) -> datetime | None:
    """When: a date (its first minute in UTC), a time in ISO 8601, days from now ("30d"), or "never".

    Raises:
        typer.BadParameter: none of them.
    """
    from mien.gallery.privacy import expiry_of

    try:
        return expiry_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def enrol(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom the pictures show.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Pictures of this person, folders of them, or globs.")
    ],
    gallery: galleries.GalleryUrl = galleries.URL,
    largest: Annotated[
        bool,
        typer.Option("--largest", help="Of a picture with several faces take the largest, instead of refusing it."),
    ] = False,
    consent: Annotated[
        str | None, typer.Option("--consent", metavar="TEXT", help="What the person agreed to, in your words.")
    ] = None,
    expires: galleries.Expires = None,
    keep_crops: galleries.KeepCrops = False,
    as_json: options.Json = False,
    key: galleries.KeySource = None,
    detector: options.Detector = options.DETECTOR,
    embedder: galleries.Embedder = None,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    accurate: galleries.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
) -> None:
    """Add the faces of a person; the gallery is made if there is none.

    Each picture shows this person only, or the largest face is theirs (--largest). Pictures that the gallery has
    already, and copies of them, are noted and not enrolled twice. A file that cannot be used never stops the others:
    failures are listed at the end, and the exit code is then 2.
    """
    from mien.gallery.enrolling import enrol as enrol_faces
    from mien.gallery.enrolment import Terms

    until = None if expires is None else moment(expires)
    failures: list[str] = []
    files = pictures.list_files(images, None, failures)
    if not files:
        raise typer.BadParameter("standard input has no name to be known by; give a file", param_hint="IMAGE")
    _name_first(name)
    how = {"detector": detector, "size": size, "threshold": min_score, "threads": threads, "device": device}
    with galleries.Target(
        gallery, embedder=embedder, accurate=accurate, key=key, keep_crops=keep_crops, **how
    ) as target:
        results = pictures.analyse(target.analyzer, files, keep_images=target.keeps_crops)
        faces = list(_faces(results, failures, largest=largest, crops=target.keeps_crops))
        if faces:  # else no gallery is made
            opened = target.gallery()
            namesakes = _namesakes(opened, name)
            told = enrol_faces(opened, target.analyzer, name, faces, Terms(consent, until))
            failures += others(opened, told.enrolment, faces)
            _warn(told.enrolment, faces, told.doubts or (), namesakes)
            if as_json:
                print_json({"schema": 1, **told.to_dict()})
            else:
                say(told.enrolment, faces)
    for failure in failures:
        report_error(failure)
    if failures:
        raise typer.Exit(EXIT_BAD_INPUT)


def _name_first(name: str) -> None:
    """A name that cannot be one is said before any work."""
    from mien.gallery.names import clean_name

    clean_name(name)


def _faces(results: Iterable[FileResult], failures: list[str], *, largest: bool, crops: bool) -> Iterable[NewFace]:
    """The face of each picture that is to be enrolled; what is wrong is added to the failures."""
    from mien.analyzer import no_face_message
    from mien.gallery.enrolling import face_to_enrol
    from mien.ops.image import picture_digest

    for result in results:
        if result.faces is None:
            failures.append(str(result.error))
        elif not len(result.faces):
            failures.append(no_face_message(result.path))
        else:
            image = result.image if crops else None
            try:
                face = face_to_enrol(result.path, result.faces, image, largest=largest)
            except NoFaceError as error:
                failures.append(str(error))
            else:
                yield replace(face, source_sha256=picture_digest(result.path))


def others(gallery: Gallery, told: Enrolment, faces: Sequence[NewFace]) -> list[str]:
    """Pictures that are in the gallery already, as of somebody else."""
    from mien.gallery.enrolling import foreign

    return [
        f"{line}; if that is wrong: mien gallery move {skipped.face} --to {told.person.id}"
        for skipped, line in foreign(gallery, told, faces)
    ]


def _namesakes(gallery: Gallery, name: str) -> list[str]:
    """People whose names are written nearly like this one."""
    from mien.gallery.names import clean_name, namesakes

    with gallery.store.read() as reader:
        return namesakes(reader, clean_name(name))


def _warn(told: Enrolment, faces: list[NewFace], doubted: Sequence[Sequence[str]], namesakes: Sequence[str]) -> None:
    """Say what makes one doubt that the name is right: of faces that were enrolled all the same."""
    skipped = {one.position for one in told.skipped}
    added = [i for i in range(len(faces)) if i not in skipped]
    lines = [f"{faces[i].source}: {line}" for i in added for line in doubted[i]]
    for line in lines:
        note(line)
    if namesakes and len(added) == told.person.faces:  # nobody had this name
        note(f"{told.person.name} is new, beside {', '.join(namesakes)}: the same person?")
        lines.append("namesake")
    if lines:
        note("if the name is wrong, `mien gallery undo` takes this back")


def say(told: Enrolment, faces: Sequence[NewFace]) -> None:
    """What became of an enrolment of these faces, for people."""
    for one in told.skipped:
        if one.person == told.person.id:
            what = "the same picture" if one.reason == "same picture" else "nearly the same picture"
            note(f"{faces[one.position].source}: {what} is in the gallery already, as face {one.face}")
    text = f"{printable(told.person.name)}: {counted(len(told.faces), 'face')} enrolled, {told.person.faces} in all"
    stdout().print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
