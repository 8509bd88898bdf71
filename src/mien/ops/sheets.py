"""Contact sheets: grids of faces under headings, to see at a glance what was put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mien.ops.draw import font_for
from mien.types import ImageArray

_BACKGROUND = (246, 246, 244)
_INK = (24, 26, 30)
_FAINT = (120, 122, 126)
_MISSING = (222, 222, 218)
_MARGIN = 24
_GAP = 10
_HEADING_POINTS = 22
_CAPTION_POINTS = 12
_MOST_PIXELS = 60_000_000


@dataclass(frozen=True)
class Section:
    """Faces under one heading.

    Attributes:
        heading: one line; "" for none.
        crops: (S, S, 3) uint8 RGB each, or None for one that is lost.
        captions: one line for each crop, shortened where it is too long; empty for no captions at all.
        note: said faintly beside the heading.
    """

    heading: str
    crops: Sequence[ImageArray | None]
    captions: Sequence[str] = ()
    note: str = ""


def contact_sheet(sections: Sequence[Section], *, columns: int = 8, side: int = 128) -> ImageArray:
    """Draw sections one below another.

    Args:
        sections: at least one.
        columns: crops in a row, at most; a sheet with fewer crops in each section is narrower.
        side: of a drawn crop, in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sheet would be too large: show fewer faces.
    """
    across = max(min(columns, max((len(section.crops) for section in sections), default=1)), 4)
    width = 2 * _MARGIN + across * side + (across - 1) * _GAP
    heights = [_height(section, across, side) for section in sections]
    height = 2 * _MARGIN + sum(heights) + _MARGIN * max(len(sections) - 1, 0)
    if width * height > _MOST_PIXELS:
        raise ValueError(f"a contact sheet of {width} x {height} pixels is too large; show fewer faces")
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    top = _MARGIN
    for section, tall in zip(sections, heights, strict=True):
        _draw(sheet, section, top, across, side)
        top += tall + _MARGIN
    return np.array(sheet)


def _height(section: Section, across: int, side: int) -> int:
    rows = -(-len(section.crops) // across)
    return _heading_height(section) + rows * (side + _caption_height(section)) + max(rows - 1, 0) * _GAP


def _heading_height(section: Section) -> int:
    return round(_HEADING_POINTS * 1.7) if section.heading or section.note else 0


def _caption_height(section: Section) -> int:
    return round(_CAPTION_POINTS * 1.7) if section.captions else 0


def _draw(sheet: Image.Image, section: Section, top: int, across: int, side: int) -> None:
    room = sheet.width - 2 * _MARGIN
    if section.heading or section.note:
        end = _text(sheet, (_MARGIN, top), section.heading, points=_HEADING_POINTS, ink=_INK, room=room)
        note_at = _MARGIN + (end + 2 * _GAP if end else 0)
        points = round(_HEADING_POINTS * 0.7)
        lower = top + round((_HEADING_POINTS - points) * 0.9)  # on one baseline with the heading
        _text(sheet, (note_at, lower), section.note, points=points, ink=_FAINT, room=sheet.width - note_at - _GAP)
    top += _heading_height(section)
    for i, crop in enumerate(section.crops):
        row, column = divmod(i, across)
        x, y = _MARGIN + column * (side + _GAP), top + row * (side + _caption_height(section) + _GAP)
        if crop is None:
            sheet.paste(_MISSING, (x, y, x + side, y + side))
        else:
            face = Image.fromarray(crop)
            sheet.paste(face if face.width == side else face.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        if section.captions:
            _text(sheet, (x, y + side + 3), section.captions[i], points=_CAPTION_POINTS, ink=_FAINT, room=side)


def _text(
    sheet: Image.Image, place: tuple[int, int], text: str, *, points: int, ink: tuple[int, int, int], room: int
) -> int:
    """Write one line, shortened in the middle to fit: names of files differ at their ends. Its width in pixels."""
    font, text = font_for(text, points)
    keep = len(text)
    shown = text
    while keep > 1 and font.getlength(shown) > room:
        keep -= 1
        shown = f"{text[: keep // 3]}…{text[len(text) - (keep - keep // 3) :]}"
    ImageDraw.Draw(sheet).text(place, shown, ink, font)
    return round(font.getlength(shown))
