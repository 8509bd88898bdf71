"""Contact sheets of groups: one picture of each, and one of all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mien.errors import ImageError, MienError
from mien.gallery.grouping.groups import FaceKey, Groups
from mien.models.base import CropSpec
from mien.ops import align
from mien.ops.files import printable
from mien.ops.image import load_image, picture_digest, save_image
from mien.ops.sheets import Section, contact_sheet
from mien.types import Faces, FloatArray, ImageArray

_SIDE = 128
_MOST_ON_SHEET = 96  # faces of one group
_MOST_IN_OVERVIEW = 40  # groups
_IN_OVERVIEW = 8  # faces of each
_WIDER = 0.78  # of the embedder's crop: shows hair and chin
_OVERVIEW = "overview.png"
_OURS = re.compile(r"overview\.png|group-\d+\.png")


def check_sheets_folder(folder: Path, pictures: Path) -> None:
    """Make the folder for contact sheets, and refuse one that is not for them.

    Args:
        folder: for the sheets.
        pictures: the folder that is searched for pictures.

    Raises:
        MienError: it cannot be made, holds other things, or lies among the pictures.
    """
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(pictures)):
        raise MienError(f"--sheets {printable(folder)}: lies in the folder of pictures; name one outside of it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)]
    except OSError as error:
        raise MienError(f"--sheets {printable(folder)}: cannot be used ({error.strerror or error})") from error
    if others:
        raise MienError(f"--sheets {printable(folder)}: holds other files ({printable(others[0])}); name a new folder")


def write_sheets(
    folder: Path,
    groups: Groups,
    pictures: Mapping[str, Faces],
    crop: CropSpec,
    *,
    progress: Callable[[int, int], None],
) -> int:
    """Write overview.png and a group-N.png for each group into a folder; sheets of an earlier run are removed.

    Only the owner may read them.

    Args:
        folder: as `check_sheets_folder` left it.
        groups: what to show.
        pictures: by SHA-256, the faces of each.
        crop: how faces are cut for the embedder.
        progress: called with (done, total) after each sheet.

    Returns:
        How many sheets there are, without the overview.

    Raises:
        MienError: one cannot be written.
    """
    cut = _Cutter(groups.paths, pictures, crop)
    by_size = sorted(groups.members, key=lambda number: (-len(groups.members[number]), number))
    written = {_OVERVIEW}
    total = len(by_size) + 1
    _save(folder / _OVERVIEW, _overview(groups, by_size, cut), columns=_IN_OVERVIEW)
    progress(1, total)
    for done, number in enumerate(by_size, 2):
        name = f"group-{number}.png"
        _save(folder / name, [_whole(groups, number, cut)], columns=8)
        written.add(name)
        progress(done, total)
    for entry in folder.iterdir():
        if _OURS.fullmatch(entry.name) and entry.name not in written:
            with suppress(OSError):
                entry.unlink()
    return len(by_size)


def _overview(groups: Groups, by_size: Sequence[int], cut: _Cutter) -> list[Section]:
    sections = []
    for number in by_size[:_MOST_IN_OVERVIEW]:
        keys = groups.members[number]
        sections.append(Section(f"Group {number}", cut(keys[:_IN_OVERVIEW]), note=_count(len(keys), "face")))
    left = len(by_size) - len(sections)
    about = [_count(left, "more group")] if left else []
    about.append(f"{_count(len(groups.ungrouped), 'face')} in no group")
    return [*sections, Section("", [], note=", ".join(about))]


def _whole(groups: Groups, number: int, cut: _Cutter) -> Section:
    keys = groups.members[number]
    shown = keys[:_MOST_ON_SHEET]
    note = _count(len(keys), "face")
    if len(shown) < len(keys):
        note += f", the {len(shown)} most like all others are shown"
    captions = [printable(Path(groups.paths[digest][0]).name) for digest, _ in shown]
    return Section(f"Group {number}", cut(shown), captions, note)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _save(path: Path, sections: Sequence[Section], *, columns: int) -> None:
    save_image(path, contact_sheet(sections, columns=columns, side=_SIDE), private=True)


class _Cutter:
    """Cuts faces out of their pictures, each of which is read once for all of its faces on one sheet."""

    def __init__(self, paths: Mapping[str, Sequence[str]], pictures: Mapping[str, Faces], crop: CropSpec) -> None:
        self._paths = paths
        self._pictures = pictures
        self._template = _wider(crop)

    def __call__(self, keys: Sequence[FaceKey]) -> list[ImageArray | None]:
        """(S, S, 3) of each face, or None where its picture is gone or has changed."""
        crops: dict[FaceKey, ImageArray] = {}
        for digest in dict.fromkeys(digest for digest, _ in keys):
            image = _picture(self._paths[digest], digest)
            if image is None:
                continue
            numbers = [i for other, i in keys if other == digest]
            transforms = align.crop_transforms(self._pictures[digest], self._template, _SIDE)[numbers]
            cut = align.extract_crops(image, transforms, _SIDE)
            crops.update(((digest, i), crop) for i, crop in zip(numbers, cut, strict=True))
        return [crops.get(key) for key in keys]


def _wider(crop: CropSpec) -> FloatArray:
    """(5, 2) template of a crop that shows more around the face."""
    template = crop.template_array() * (_SIDE / crop.size)
    middle = _SIDE / 2
    wider: FloatArray = middle + (template - middle) * _WIDER
    return wider


def _picture(paths: Iterable[str], digest: str) -> ImageArray | None:
    """The picture with these bytes, from the first of the places where it still is."""
    for path in paths:
        with suppress(ImageError):
            if picture_digest(Path(path)) == digest:
                return load_image(path)
    return None
