"""`mien gallery name`: groups that `mien cluster` found become people of the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import galleries, options
from mien.cli.console import EXIT_BAD_INPUT, note, print_json, report_error
from mien.cli.enrol import moment, others, say
from mien.errors import GalleryModelError

if TYPE_CHECKING:
    from mien.gallery.enrolment import Enrolment
    from mien.gallery.gallery import Gallery
    from mien.gallery.grouping.face_file import MadeBy
    from mien.gallery.records import NewFace


def name(
    groups: Annotated[Path, typer.Argument(metavar="GROUPS.json", help="What `mien cluster` wrote.")],
    names: Annotated[
        list[str], typer.Argument(metavar="GROUP=NAME...", help='Number of a group and who it is, as in 3="Ada L.".')
    ],
    gallery: galleries.GalleryUrl = galleries.URL,
    consent: Annotated[
        str | None, typer.Option("--consent", metavar="TEXT", help="What the people agreed to, in your words.")
    ] = None,
    expires: galleries.Expires = None,
    keep_crops: galleries.KeepCrops = False,
    as_json: options.Json = False,
    key: galleries.KeySource = None,
) -> None:
    """Enrol groups of faces, each under a name: all of them or none; the gallery is made if there is none.

    Faces that the gallery has already, and copies of their pictures, are noted and not enrolled twice; where one is of
    somebody else the exit code is 2. Look at the contact sheet of a group before you name it.
    """
    from mien.gallery.enrolment import Terms
    from mien.gallery.grouping.groups import new_faces, read_groups
    from mien.gallery.grouping.naming import Crops, check_made_by, name_groups

    asked = [_parsed(text) for text in names]
    _refuse_twice([number for number, _ in asked])
    terms = Terms(consent, None if expires is None else moment(expires))
    found, pictures = read_groups(groups)
    faces = [new_faces(found, pictures, number) for number, _ in asked]
    with _opened(gallery, key, found.made_by, keep_crops=keep_crops) as opened:
        check_made_by(opened.info, found.made_by)
        crops = Crops(found.paths)
        if opened.info.keeps_crops:
            faces = [crops.add(some) for some in faces]
        named = [(who, some) for (_, who), some in zip(asked, faces, strict=True)]
        told = name_groups(opened, found.made_by, named, terms)
        failures = [line for one, some in zip(told, faces, strict=True) for line in others(opened, one, some)]
    _print([number for number, _ in asked], told, faces, as_json=as_json)
    if crops.missing:
        note(f"faces without a kept crop, because their pictures are gone or have changed: {crops.missing}")
    for failure in failures:
        report_error(failure)
    if failures:
        raise typer.Exit(EXIT_BAD_INPUT)


def _parsed(text: str) -> tuple[int, str]:
    """A number and a name that can be one, from GROUP=NAME.

    Raises:
        typer.BadParameter: it is something else.
        GalleryError: the name cannot be one.
    """
    from mien.gallery.names import clean_name

    number, equals, who = text.partition("=")
    if not equals or not (number.isascii() and number.isdecimal() and len(number) < 16):
        raise typer.BadParameter(f'{text!r} is not GROUP=NAME, such as 3="Ada Lovelace"', param_hint="GROUP=NAME")
    return int(number), clean_name(who)


def _refuse_twice(numbers: Sequence[int]) -> None:
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise typer.BadParameter(f"group {twice} is named twice", param_hint="GROUP=NAME")


def _opened(url: str, key: str | None, made_by: MadeBy, *, keep_crops: bool) -> Gallery:
    """The gallery; made for the embedder of the groups where there is none.

    Raises:
        GalleryModelError: there is none, and mien has no such embedder.
    """
    from mien.gallery.gallery import Gallery
    from mien.models import registry

    record = registry.records().get(made_by.embedder)
    ours = record is not None and record.weights.sha256 == made_by.embedder_sha256
    database = "://" in url
    if galleries.is_there(url) and not (database and ours):
        return galleries.open_gallery(url, key)
    if not ours:
        raise GalleryModelError(
            f"the groups hold embeddings of {made_by.embedder}, which is no model that comes with mien: make the"
            " gallery first, by `mien gallery enrol --embedder arcface:FILE.onnx`"
        )
    return Gallery.open(url, embedder=made_by.embedder, mode=made_by.mode, key=key, keep_crops=keep_crops)


def _print(
    numbers: Sequence[int], told: Sequence[Enrolment], faces: Sequence[Sequence[NewFace]], *, as_json: bool
) -> None:
    if as_json:
        from mien.gallery.enrolling import told_dict

        rows = zip(numbers, told, faces, strict=True)
        print_json({"schema": 1, "named": [{"group": number, **told_dict(one, some)} for number, one, some in rows]})
        return
    for one, some in zip(told, faces, strict=True):
        say(one, some)
