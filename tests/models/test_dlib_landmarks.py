"""The landmark trees against a plain, pixel-by-pixel evaluation of trees made up here."""

import math
from pathlib import Path

import numpy as np
import pytest

from mien import Faces, WeightsError, WeightsStore, load_image
from mien.models.dlib_landmarks import (
    CENTERFACE_TEMPLATE,
    RECORD,
    DlibAligner,
    DlibLandmarks,
    Forests,
    dlib_boxes,
    read_forests,
)
from mien.ops import align

STAGES, TREES, PIXELS = 2, 3, 12


def made_up_forests(seed: int = 0) -> Forests:
    rng = np.random.default_rng(seed)
    initial = [[0.78, 0.35], [0.62, 0.35], [0.23, 0.35], [0.38, 0.35], [0.5, 0.66]]
    return Forests(
        initial=np.array(initial, dtype=np.float32),
        first=rng.integers(0, PIXELS, (STAGES, TREES, 15)).astype(np.int32),
        second=rng.integers(0, PIXELS, (STAGES, TREES, 15)).astype(np.int32),
        threshold=rng.uniform(-60, 60, (STAGES, TREES, 15)).astype(np.float32),
        leaves=rng.normal(0, 0.02, (STAGES, TREES, 16, 5, 2)).astype(np.float32),
        anchor=rng.integers(0, 5, (STAGES, PIXELS)).astype(np.int32),
        delta=rng.normal(0, 0.15, (STAGES, PIXELS, 2)).astype(np.float32),
    )


def integer(value: int) -> bytes:
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "little")
    return bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def reals(values) -> bytes:
    return b"".join(real(float(v)) for v in np.ravel(values))


def in_dlib_format(f: Forests) -> bytes:
    shape = integer(-10) + integer(-1)
    out = integer(1) + shape + reals(f.initial) + integer(STAGES)
    for t in range(STAGES):
        out += integer(TREES)
        for k in range(TREES):
            out += integer(15)
            for i in range(15):
                out += integer(int(f.first[t, k, i])) + integer(int(f.second[t, k, i])) + real(f.threshold[t, k, i])
            out += integer(16) + b"".join(shape + reals(leaf) for leaf in f.leaves[t, k])
    out += integer(STAGES)
    for anchors in f.anchor:
        out += integer(PIXELS) + b"".join(integer(int(a)) for a in anchors)
    out += integer(STAGES)
    for deltas in f.delta:
        out += integer(PIXELS) + reals(deltas)
    return out


def plain(f: Forests, image, box):
    """One face, one pixel, one tree at a time."""
    origin, side = box[:2].astype(float), (box[2:] - box[:2]).astype(float)
    shape = f.initial.astype(float)
    base = f.initial - f.initial.mean(axis=0)
    for t in range(STAGES):
        now = shape - shape.mean(axis=0)
        turn = (now[:, 0] + 1j * now[:, 1]) @ (base[:, 0] - 1j * base[:, 1]) / (base**2).sum()
        values = []
        for anchor, (dx, dy) in zip(f.anchor[t], f.delta[t], strict=True):
            moved = turn * (dx + 1j * dy)
            x, y = np.floor((shape[anchor] + [moved.real, moved.imag]) * side + origin + 0.5).astype(int)
            inside = 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
            values.append(int(image[y, x].astype(int).sum()) // 3 if inside else 0)
        step = np.zeros((5, 2))
        for k in range(TREES):
            node = 0
            while node < 15:
                left = values[f.first[t, k, node]] - values[f.second[t, k, node]] > f.threshold[t, k, node]
                node = 2 * node + (1 if left else 2)
            step += f.leaves[t, k, node - 15]
        shape = shape + step
    return shape * side + origin


def smooth_image(seed: int):
    rng = np.random.default_rng(seed)
    return np.repeat(np.repeat(rng.integers(0, 256, (12, 15, 3), dtype=np.uint8), 10, axis=0), 10, axis=1)


def test_matches_the_plain_evaluation():
    forests, image = made_up_forests(), smooth_image(1)
    boxes = np.array([[20, 15, 100, 95], [-30, 40, 55, 125], [90, 30, 170, 110]], dtype=np.float32)
    points = DlibLandmarks(forests)(image, boxes)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, [plain(forests, image, box) for box in boxes], atol=1e-3)


def test_a_face_does_not_depend_on_its_batch():
    landmarks, image = DlibLandmarks(made_up_forests()), smooth_image(2)
    boxes = np.tile(np.array([[20, 15, 100, 95]], dtype=np.float32), (70, 1)) + np.arange(70)[:, None] % 9
    one_by_one = np.concatenate([landmarks(image, box[None]) for box in boxes])
    np.testing.assert_array_equal(landmarks(image, boxes), one_by_one)


def test_no_faces():
    assert DlibLandmarks(made_up_forests())(smooth_image(0), np.empty((0, 4), np.float32)).shape == (0, 5, 2)


def test_reads_dlibs_format_and_its_own():
    forests = made_up_forests()
    for read in (read_forests(in_dlib_format(forests)), Forests.from_bytes(forests.to_bytes())):
        for name, array in vars(forests).items():
            np.testing.assert_allclose(getattr(read, name), array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("cut", [0, 1, 40, 3000, -1])
def test_a_cut_file_is_refused(cut):
    with pytest.raises(WeightsError):
        read_forests(in_dlib_format(made_up_forests())[:cut])


def test_something_else_is_refused():
    with pytest.raises(WeightsError):
        read_forests(in_dlib_format(made_up_forests()) + b"\x01\x01")
    with pytest.raises(WeightsError):
        read_forests(b"\x01\x02" * 500)
    with pytest.raises(WeightsError):
        Forests.from_bytes(b"PK nothing")


def test_boxes_follow_the_face():
    face = np.array([[[40, 50], [80, 50], [60, 72], [44, 92], [76, 92]]], dtype=np.float32)
    box = dlib_boxes(face)
    moved = dlib_boxes(face * 2 + np.float32(7))
    np.testing.assert_allclose(moved, box * 2 + 7, rtol=1e-5)
    assert (box[0, :2] < face[0].min(axis=0)).all()
    assert (box[0, 2:] > face[0].max(axis=0)).all()


@pytest.fixture(scope="module")
def finder() -> DlibLandmarks:
    data = WeightsStore().path(RECORD.weights).read_bytes()
    return DlibLandmarks(read_forests(data))


def test_parity_with_dlib_on_photographs(finder, portrait, astronaut):
    """dlib rounds its points to whole pixels; its boxes hold the last pixel, so they are one larger than ours."""
    with np.load(Path(__file__).parents[1] / "fixtures" / "dlib_reference.npz") as reference:
        for photo, boxes, points in zip((portrait, astronaut), reference["boxes"], reference["points"], strict=True):
            found = finder(load_image(photo), boxes.astype(np.float32))
            np.testing.assert_allclose(found, points, atol=0.51)


def test_crops_are_cut_by_both_kinds_of_points(finder, analyzer, portrait):
    image = load_image(portrait)
    faces = analyzer(image)
    (transform,) = DlibAligner(finder)(image, faces)
    eyes = align.apply(transform[None], faces.landmarks[:, :2])[0]
    np.testing.assert_allclose(eyes, CENTERFACE_TEMPLATE[:2], atol=5)
    scale = np.hypot(*transform[:, 0])
    assert 0.5 < scale < 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 200.0])
def test_degenerate_landmarks_are_cut_by_the_box(finder, value):
    image = np.zeros((300, 300, 3), np.uint8)
    good = np.float32([[120, 120], [180, 120], [150, 150], [130, 180], [170, 180]])
    landmarks = np.stack([good, np.full((5, 2), value, np.float32)])
    faces = Faces(np.float32([[100, 90, 200, 220]] * 2), np.ones(2, np.float32), landmarks, (300, 300))
    transforms = DlibAligner(finder)(image, faces)
    assert np.isfinite(transforms).all()
    assert transforms[1, 0, 1] == transforms[1, 1, 0] == 0  # upright
    centre = align.apply(transforms, np.float32([[[150, 155]]] * 2))[1, 0]
    np.testing.assert_allclose(centre, np.mean(CENTERFACE_TEMPLATE, axis=0), atol=1e-3)
