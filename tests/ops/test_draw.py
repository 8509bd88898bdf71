from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from mien.ops import draw
from mien.ops.draw import draw_faces
from mien.types import Faces

RELATIVE_LANDMARKS = np.array([[0.31, 0.41], [0.69, 0.41], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]])


def faces_at(boxes: list[tuple[float, ...]], size: tuple[int, int]) -> Faces:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    sides = array[:, None, 2:] - array[:, None, :2]
    return Faces(array, np.full(len(array), 0.9), array[:, None, :2] + sides * RELATIVE_LANDMARKS, size)


def canvas(width: int = 400, height: int = 300, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def test_no_faces_give_an_equal_copy():
    image = canvas()
    drawn = draw_faces(image, Faces.empty((400, 300)))
    assert drawn is not image
    np.testing.assert_array_equal(drawn, image)


def test_the_picture_given_stays_as_it_is():
    image = canvas()
    image.flags.writeable = False
    drawn = draw_faces(image, faces_at([(100, 80, 200, 200)], (400, 300)))
    assert (image == 128).all()
    assert drawn.flags.writeable
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape


@pytest.mark.parametrize("value", [0, 128, 255])
def test_box_and_landmarks_are_where_they_should_be(value):
    image = canvas(value=value)
    faces = faces_at([(100, 80, 200, 200)], (400, 300))
    drawn = draw_faces(image, faces, [""])
    for x, y in [(100, 140), (200, 140), (150, 80), (150, 200), *faces.landmarks[0]]:
        near = drawn[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].astype(int)
        colour_off = np.abs(near - draw._COLOURS[0]).max(axis=2).min()
        assert colour_off < 40, (x, y)
    marks = changed(image, drawn)
    assert not marks[:70].any()
    assert not marks[:, 215:].any()
    assert not marks[85:120, 110:190].any()  # the forehead is left alone


@pytest.mark.parametrize("background", [(0,) * 3, (90,) * 3, (180,) * 3, (255,) * 3, draw._COLOURS[0]])
def test_lines_and_labels_stand_out_from_any_background(background):
    image = canvas()
    image[...] = background
    drawn = draw_faces(image, faces_at([(100, 80, 200, 200)], (400, 300)), ["name"])
    for row, column in [(140, 90), (68, 90)]:
        across = drawn[row, column : column + 22].astype(int)
        assert np.abs(across - background).max() > 60


def test_lines_are_antialiased():
    drawn = draw_faces(canvas(value=0), faces_at([(100, 80, 200, 200)], (400, 300)), [""])
    assert len(np.unique(drawn[75:95, 95:115].reshape(-1, 3), axis=0)) > 8


def label_pixels(size: tuple[int, int], boxes: list[tuple[float, ...]], labels: list[str]) -> np.ndarray:
    """Where the labels alone change the picture."""
    image = canvas(*size)
    faces = faces_at(boxes, size)
    return changed(draw_faces(image, faces, [""] * len(boxes)), draw_faces(image, faces, labels))


@pytest.mark.parametrize(
    "box",
    [(150, 100, 250, 200), (2, 2, 90, 100), (310, 2, 399, 100), (0, 200, 90, 300), (330, 190, 400, 300),
     (10, 1, 390, 150), (5, 1, 100, 299)],
)  # fmt: skip
def test_labels_stay_inside_and_off_the_face(box):
    marks = label_pixels((400, 300), [box], ["Someone 0.97"])
    assert marks.sum() > 300
    x1, y1, x2, y2 = (int(v) for v in box)
    assert not marks[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].any()
    rows, columns = np.nonzero(marks)
    assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) < 1.3 * marks.sum()  # whole


def test_a_face_that_fills_the_picture_still_has_its_label():
    assert label_pixels((200, 200), [(0, 0, 200, 200)], ["Someone"]).sum() > 300


def test_labels_of_neighbours_avoid_each_other():
    boxes = [(100, 100, 160, 160), (166, 100, 226, 160)]
    first = label_pixels((400, 300), boxes, ["Someone with a name", ""])
    both = label_pixels((400, 300), boxes, ["Someone with a name", "Someone with a name"])
    assert both.sum() > 1.9 * first.sum()


def test_scores_are_the_default_labels():
    image, faces = canvas(), faces_at([(100, 80, 200, 200)], (400, 300))
    np.testing.assert_array_equal(draw_faces(image, faces), draw_faces(image, faces, ["0.90"]))
    assert changed(draw_faces(image, faces), draw_faces(image, faces, ["0.80"])).any()


def test_as_many_labels_as_faces():
    with pytest.raises(ValueError, match="1 labels for 2 faces"):
        draw_faces(canvas(), faces_at([(0, 0, 9, 9), (20, 20, 40, 40)], (400, 300)), ["a"])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (24, 24), (70, 40)])
def test_tiny_pictures(size):
    faces = faces_at([(0, 0, *size), (-5, -5, size[0] + 5, size[1] / 2), (0, 0, 0, 0)], size)
    assert draw_faces(canvas(*size), faces, ["a long label", "名字", "x"]).shape == (size[1], size[0], 3)


def test_faces_outside_the_picture():
    faces = faces_at([(-300, -300, -200, -200), (500, 400, 600, 500), (350, 250, 480, 380)], (400, 300))
    assert draw_faces(canvas(), faces).shape == (300, 400, 3)


def test_lines_grow_with_the_picture():
    def line(scale: int) -> int:
        size = (400 * scale, 300 * scale)
        faces = faces_at([(100 * scale, 80 * scale, 200 * scale, 200 * scale)], size)
        image = canvas(*size)
        return int(changed(image, draw_faces(image, faces, [""]))[140 * scale, : 140 * scale].sum())

    assert line(2) >= line(1)
    assert line(8) > 2.5 * line(1)


def test_long_and_multi_line_labels_are_shortened():
    columns = np.nonzero(label_pixels((400, 300), [(100, 80, 200, 200)], ["many words " * 30]))[1]
    assert 150 < columns.max() - columns.min() < 260
    one, two = (label_pixels((400, 300), [(100, 80, 200, 200)], [text]) for text in ("a b", "a\n\tb"))
    np.testing.assert_array_equal(one, two)


# Fonts


@pytest.fixture
def other_font(monkeypatch) -> Path:
    """A font with Greek and Cyrillic in the place of the system's."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    monkeypatch.setattr(draw, "_WIDE_FONTS", ("no such font.ttc", str(path)))
    return path


def test_plain_text_has_the_built_in_font(other_font):
    font, text = draw.font_for("Zoe #1 (0.98), 93 %", 16)
    assert text == "Zoe #1 (0.98), 93 %"
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert font.getname() == ImageFont.load_default(16).getname()


def test_text_beyond_the_built_in_font_finds_another(other_font):
    font, text = draw.font_for("\u16a0\u2603 0.98", 16)  # a rune is in neither, a snowman in the second
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert font.getname()[0] == "DejaVu Sans"
    assert text == "?\u2603 0.98"


def test_without_a_font_for_it_text_degrades_to_question_marks(monkeypatch):
    monkeypatch.setattr(draw, "_WIDE_FONTS", ("no such font.ttc",))
    assert draw.font_for("张伟 0.98", 16)[1] == "?? 0.98"
    assert draw.font_for("Zoë Ǻ", 16)[1] in ("Zoe A", "Zoë A", "Zoë Ǻ")
    assert draw_faces(canvas(), faces_at([(100, 80, 200, 200)], (400, 300)), ["张伟"]).shape == (300, 400, 3)


def test_colours_are_bright_enough_for_the_ink():
    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [(c / 255 / 12.92) if c < 11 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for colour in draw._COLOURS:
        assert (luminance(colour) + 0.05) / (luminance(draw._INK) + 0.05) > 4.5
