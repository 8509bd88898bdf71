"""Annotated pictures: boxes, landmarks and labels that read well on any background, at any size."""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.types import Faces, ImageArray

__all__ = ["draw_faces", "font_for"]

_Colour: TypeAlias = tuple[int, int, int]
_Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"
_Rect: TypeAlias = tuple[float, float, float, float]  # x1 y1 x2 y2

# After Okabe and Ito: told apart with every kind of colour vision. All are bright enough to carry dark ink.
_COLOURS: tuple[_Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (230, 110, 30),
    (224, 141, 188),
)
_INK: _Colour = (16, 18, 22)
_DARK = 100  # brightness of a plate, of 255, under which white ink is read better
_HALO_ALPHA = 110
_SAMPLES = 4  # a shape is drawn this many times larger and averaged, which is what smooths its edges
_MAX_SAMPLED_PIXELS = 16_000_000
# Looked up by file name in the system's font folders, in this order.
_WIDE_FONTS: tuple[str, ...] = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.ttf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)
_NO_SUCH_CHARACTER = "\U0010fffe"


def draw_faces(
    image: ImageArray,
    faces: Faces,
    labels: Sequence[str] | None = None,
    *,
    colours: Sequence[int | _Colour] | None = None,
    points: bool = True,
) -> ImageArray:
    """Draw boxes, landmarks and labels on a copy of the picture.

    A label stands above its box where it fits, otherwise below or beside it; it stays inside the picture and
    off the faces unless a face fills the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: boxes and landmarks in pixels of `image`.
        labels: one text per face ("" for none); without it the scores are shown.
        colours: a number per face, such as that of its track: faces with one number have one colour; or the colours
            themselves, (R, G, B) of 0 to 255. By default they follow the order of the faces.
        points: whether to draw the landmarks.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ValueError: as many labels, and colours, as faces are needed.
    """
    texts = [f"{score:.2f}" for score in faces.scores] if labels is None else list(labels)
    if len(texts) != len(faces):
        raise ValueError(f"{len(texts)} labels for {len(faces)} faces")
    if colours is not None and len(colours) != len(faces):
        raise ValueError(f"{len(colours)} colours for {len(faces)} faces")
    canvas = Image.fromarray(np.ascontiguousarray(image))
    chosen: Sequence[int | _Colour] = range(len(faces)) if colours is None else colours
    marks = [_mark(faces[i], colour, canvas.size, points=points) for i, colour in enumerate(chosen)]
    # Small faces last: they are not hidden under the frame of a large one.
    for mark in sorted(marks, key=lambda mark: -mark.side):
        _draw_frame(canvas, mark)
    _draw_labels(canvas, marks, texts)
    return np.array(canvas)


@dataclass(frozen=True)
class _Mark:
    """One face's box (clipped to the picture), landmarks (5, 2), and the sizes that suit it, in pixels."""

    box: _Rect
    points: tuple[tuple[float, float], ...]
    colour: _Colour
    side: float
    line: int
    font_size: float


def _mark(face: Faces, colour: int | _Colour, size: tuple[int, int], *, points: bool) -> _Mark:
    width, height = size
    x1, y1, x2, y2 = np.clip(face.boxes[0], 0, [width, height, width, height]).tolist()
    side = math.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1))
    unit = math.sqrt(width * height) / 1000  # 1 in a picture of one megapixel
    return _Mark(
        box=(x1, y1, x2, y2),
        points=tuple((float(x), float(y)) for x, y in face.landmarks[0]) if points else (),
        colour=_COLOURS[colour % len(_COLOURS)] if isinstance(colour, int) else colour,
        side=side,
        line=round(min(max(side * 0.014, 1.5 * unit, 1.0), max(4.0 * unit, 1.5))),
        font_size=min(max(side * 0.13, 15 * unit, 11.0), max(30 * unit, 13.0)),
    )


# Frames and landmarks


def _draw_frame(canvas: Image.Image, mark: _Mark) -> None:
    """A rounded box and round landmarks, each over a dark halo that shows it on a bright background."""
    line, box = mark.line, mark.box
    halo = max(round(line * 0.6), 1)
    radius = max(min(mark.side * 0.06, line * 4), line)
    dot = max(min(mark.side * 0.018, line * 1.6), 1.2)
    reach = line + halo + 2
    area = _pixels((box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach), canvas.size)
    shapes = _Shapes(canvas, area)
    shapes.outline(box, radius, line + 2 * halo, _INK, _HALO_ALPHA)
    shapes.dots(mark.points, dot + halo, _INK, _HALO_ALPHA)
    shapes.outline(box, radius, line, mark.colour, 255)
    shapes.dots(mark.points, dot, mark.colour, 255)


class _Shapes:
    """Antialiased shapes on a part of the canvas; coordinates are the canvas's."""

    def __init__(self, canvas: Image.Image, area: tuple[int, int, int, int]) -> None:
        self._canvas = canvas
        self._area = area
        self._size = (area[2] - area[0], area[3] - area[1])
        # On a large area edges are smooth enough as they are: lines are thick there.
        pixels = max(self._size[0] * self._size[1], 1)
        self._samples = max(1, min(_SAMPLES, math.isqrt(_MAX_SAMPLED_PIXELS // pixels)))

    def outline(self, box: _Rect, radius: float, width: int, colour: _Colour, alpha: int) -> None:
        mask, draw = self._mask()
        # Pillow's lines lie inside their box, this one on its edge; whole pixels keep straight lines sharp.
        x1, y1, x2, y2 = (round(v) for v in _grown(box, width / 2))
        draw.rounded_rectangle(
            self._scaled((x1, y1, x2, y2)),
            (radius + width / 2) * self._samples,
            outline=alpha,
            width=width * self._samples,
        )
        self._paint(mask, colour)

    def dots(self, points: Sequence[tuple[float, float]], radius: float, colour: _Colour, alpha: int) -> None:
        mask, draw = self._mask()
        for x, y in points:
            draw.ellipse(self._scaled((x - radius, y - radius, x + radius, y + radius)), fill=alpha)
        self._paint(mask, colour)

    def plate(self, box: _Rect, radius: float, colour: _Colour, alpha: int) -> None:
        mask, draw = self._mask()
        draw.rounded_rectangle(self._scaled(box), radius * self._samples, fill=alpha)
        self._paint(mask, colour)

    def _mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        mask = Image.new("L", (self._size[0] * self._samples, self._size[1] * self._samples))
        return mask, ImageDraw.Draw(mask)

    def _scaled(self, box: _Rect) -> _Rect:
        left, top = self._area[:2]
        x1, y1 = (box[0] - left) * self._samples, (box[1] - top) * self._samples
        x2, y2 = (box[2] - left) * self._samples - 1, (box[3] - top) * self._samples - 1
        return x1, y1, max(x1, x2), max(y1, y2)

    def _paint(self, mask: Image.Image, colour: _Colour) -> None:
        if 0 not in self._size:
            self._canvas.paste(colour, self._area, mask.reduce(self._samples))


def _grown(box: _Rect, by: float) -> _Rect:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _pixels(box: _Rect, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that `box` touches, within the picture."""
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    return x1, y1, max(x1, min(size[0], math.ceil(box[2]))), max(y1, min(size[1], math.ceil(box[3])))


# Labels


def _draw_labels(canvas: Image.Image, marks: Sequence[_Mark], texts: Sequence[str]) -> None:
    taken: list[_Rect] = []
    for mark, text in zip(marks, texts, strict=True):
        line = " ".join(text.split())
        if line:
            plate, font, line = _fitted(line, mark, canvas.size)
            box = _placed(plate, mark, [other.box for other in marks], taken, canvas.size)
            _draw_label(canvas, box, line, font, mark.colour)
            taken.append(box)


def _draw_label(canvas: Image.Image, box: _Rect, text: str, font: _Font, colour: _Colour) -> None:
    height = box[3] - box[1]
    shapes = _Shapes(canvas, _pixels(_grown(box, 2), canvas.size))
    shapes.plate(_grown(box, max(1.0, height * 0.04)), height * 0.27, _INK, _HALO_ALPHA)
    shapes.plate(box, height * 0.23, colour, 255)
    left, _, right, _ = font.getbbox(text)
    # Centred by the height of capitals, so that all labels share one baseline.
    _, top, _, baseline = font.getbbox("H")
    x, y = (box[0] + box[2] - left - right) / 2, (box[1] + box[3] - top - baseline) / 2
    ImageDraw.Draw(canvas).text((round(x), round(y)), text, _ink(colour), font)


def _ink(plate: _Colour) -> _Colour:
    """What is read best on a colour: by its brightness, dark ink or white."""
    red, green, blue = plate
    return _INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > _DARK else (255, 255, 255)


def _fitted(text: str, mark: _Mark, size: tuple[int, int]) -> tuple[tuple[int, int], _Font, str]:
    """The label's (width, height), its font, and its text, shortened where it would take too much room."""
    points = max(8, round(min(mark.font_size, size[1] / 4)))
    font, text = font_for(text, points)
    padding = max(2, round(points * 0.35))
    room = min(size[0], max(size[0] * 0.45, mark.side * 2)) - 2 * padding
    if font.getlength(text) > room:
        keep = len(text)
        while keep > 1 and font.getlength(text[:keep] + "…") > room:
            keep -= 1
        text = text[:keep].rstrip() + "…"
    return (math.ceil(font.getlength(text)) + 2 * padding, round(points * 1.5)), font, text


def _placed(
    plate: tuple[int, int], mark: _Mark, faces: Sequence[_Rect], taken: Sequence[_Rect], size: tuple[int, int]
) -> _Rect:
    """Where the label hides least: places are tried in order of preference, and ties go to the first."""
    width, height = plate
    x1, y1, x2, y2 = mark.box
    gap = mark.line * 2 + 1
    middle = (x1 + x2 - width) / 2
    corners = [
        (x1 - mark.line, y1 - gap - height), (x1 - mark.line, y2 + gap),
        (x2 + mark.line - width, y1 - gap - height), (x2 + mark.line - width, y2 + gap),
        (middle, y1 - gap - height), (middle, y2 + gap),
        (x2 + gap, y1), (x1 - gap - width, y1), (x2 + gap, y2 - height), (x1 - gap - width, y2 - height),
        (x1 + gap, y2 - gap - height), (x1 + gap, y1 + gap),
    ]  # fmt: skip
    boxes = [_inside((x, y, x + width, y + height), size) for x, y in corners]
    return min(boxes, key=lambda box: _hidden(box, faces) + 2 * _hidden(box, taken))


def _inside(box: _Rect, size: tuple[int, int]) -> _Rect:
    """Move a box into the picture, by whole pixels so that text stays sharp."""
    width, height = box[2] - box[0], box[3] - box[1]
    x = round(max(1.0, min(box[0], size[0] - width - 1)))
    y = round(max(1.0, min(box[1], size[1] - height - 1)))
    return x, y, x + width, y + height


def _hidden(box: _Rect, others: Sequence[_Rect]) -> float:
    """Area of `box` in common with the others, in square pixels."""
    return sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in others
    )


# Fonts


def font_for(text: str, size: int) -> tuple[_Font, str]:
    """A font that has every character of the text; where none has, accents are dropped or "?" stands in."""
    plain = _plain_font(size)
    missing = {c for c in text if not _has(plain, c)}
    if not missing:
        return plain, text
    best: _Font = plain
    for name in _WIDE_FONTS:
        font = _system_font(name, size)
        lacks = missing if font is None else {c for c in text if not _has(font, c)}
        if font is not None and len(lacks) < len(missing):
            best, missing = font, lacks
        if not missing:
            break
    return best, "".join(_plainer(best, c) if c in missing else c for c in text)


def _plainer(font: _Font, character: str) -> str:
    base = unicodedata.normalize("NFKD", character)[0]
    return base if _has(font, base) else "?"


@functools.lru_cache(maxsize=32)
def _plain_font(size: int) -> _Font:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=256)
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    if not _is_installed(name):
        return None
    return ImageFont.truetype(name, size)


@functools.lru_cache(maxsize=64)
def _is_installed(name: str) -> bool:
    """Remembered, because the search walks all font folders."""
    try:
        ImageFont.truetype(name, 12)
    except (OSError, ImportError):
        return False
    return True


def _has(font: _Font, character: str) -> bool:
    """Whether the font draws the character as something else than its mark for a missing one."""
    if character.isspace() or not isinstance(font, ImageFont.FreeTypeFont):
        return character.isascii()
    return _glyph(font, character) != _glyph(font, _NO_SUCH_CHARACTER)


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
