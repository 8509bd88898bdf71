"""The detector over pictures of any size, with a network that finds plain squares, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from mien.models import yunet
from mien.models.base import Record
from mien.models.detection import ScaledDetector
from mien.ops import boxes as box_ops

RECORD: Record = yunet.RECORD
MARGIN = 1.5  # squares that a resize blurred are found to within this many network pixels


def _spans(lit):
    """Start and end of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lit, [False]]).astype(int)))
    return edges.reshape(-1, 2)


class Squares:
    """Finds bright squares, as a detector finds faces: whole ones of a size that it was made for.

    Args:
        multiple: of its input's sides.
        smallest: side of the smallest square that it knows, in its own pixels.
        largest: of the largest.
        grid: it places what it finds on a grid of so many pixels, as networks with strides roughly do.
    """

    multiple = 32

    def __init__(self, smallest=1, largest=4096, grid=0):
        self.smallest, self.largest, self.grid = smallest, largest, grid
        self.shapes = []

    def __call__(self, pictures, threshold):
        assert pictures.dtype == np.uint8
        assert pictures.shape[1] % self.multiple == pictures.shape[2] % self.multiple == 0
        self.shapes.append(pictures.shape[:3])
        return [self._find(picture[..., 0] / 255.0, threshold) for picture in pictures]

    def _find(self, light, threshold):
        found = []
        for top, bottom in _spans(light.max(axis=1) > 0.02):
            band = light[top:bottom]
            for left, right in _spans(band.max(axis=0) > 0.02):
                column = band[:, left:right]
                for y1, y2 in _spans(column.max(axis=1) > 0.02):
                    found += self._box(column[y1:y2], left, top + y1)
        found = [f for f in found if f[1] >= threshold]
        found.sort(key=lambda f: -f[1])
        boxes = np.array([f[0] for f in found], dtype=np.float32).reshape(-1, 4)
        scores = np.array([f[1] for f in found], dtype=np.float32)
        corners = boxes.reshape(-1, 2, 2)
        parts = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]], dtype=np.float32)
        return boxes, scores, corners[:, :1] + parts * (corners[:, 1:] - corners[:, :1])

    def _box(self, part, x, y):
        """A square's box to parts of a pixel, from the light its edges hold; nothing if it is no square."""
        peak = part.max()
        wide, high = (part.sum(axis=axis).max() / peak for axis in (1, 0))
        if abs(wide - high) > 0.1 * max(wide, high) + 0.5 or not (self.smallest <= max(wide, high) <= self.largest):
            return []
        columns, rows = part.sum(axis=0), part.sum(axis=1)
        cx = x + (columns * (np.arange(len(columns)) + 0.5)).sum() / columns.sum()
        cy = y + (rows * (np.arange(len(rows)) + 0.5)).sum() / rows.sum()
        if self.grid:
            cx, cy = round(cx / self.grid) * self.grid, round(cy / self.grid) * self.grid
        score = 0.5 + peak / 2 * 0.9  # brighter is surer
        return [((cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2), score)]


def picture_of(width, height, squares, brightness=255):
    """RGB uint8 with bright squares (x, y, side) on black."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for i, (x, y, side) in enumerate(squares):
        image[y : y + side, x : x + side] = brightness - i  # all different, so that scores are
    return image


def matches(faces, squares, tolerance):
    """Every square was found once, and nothing else was."""
    wanted = np.array([(x, y, x + side, y + side) for x, y, side in squares], np.float32).reshape(-1, 4)
    assert len(faces) == len(wanted)
    if not len(wanted):
        return
    distance = np.abs(faces.boxes[:, None] - wanted[None]).max(axis=-1)
    assert sorted(distance.argmin(axis=1)) == list(range(len(wanted)))
    assert distance.min(axis=1).max() <= tolerance
    eyes = faces.boxes[:, :2] + 0.3 * (faces.boxes[:, 2:] - faces.boxes[:, :2])
    np.testing.assert_allclose(faces.landmarks[:, 0], eyes, atol=tolerance)


def test_no_pictures():
    network = Squares()
    assert ScaledDetector(RECORD, network)([]) == []
    assert ScaledDetector(RECORD, network, size="full")([]) == []
    assert not network.shapes


@pytest.mark.parametrize("size", [640, "full"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (20000, 8), (8, 20000), (640, 480), (3000, 2000)])
def test_nothing_to_find(width, height, size):
    (faces,) = ScaledDetector(RECORD, Squares(), size=size)([picture_of(width, height, [])])
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.image_size == (width, height)


def test_a_picture_of_one_pixel_is_a_face():
    (faces,) = ScaledDetector(RECORD, Squares())([picture_of(1, 1, [(0, 0, 1)])])
    matches(faces, [(0, 0, 1)], 0)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_very_long_picture(transposed):
    squares = [(100, 1, 6), (1019, 0, 8), (10500, 2, 5), (19992, 0, 8)]
    image = picture_of(20000, 8, squares)
    if transposed:
        image, squares = image.transpose(1, 0, 2), [(y, x, side) for x, y, side in squares]
    (faces,) = ScaledDetector(RECORD, Squares(), size="full")([image])
    matches(faces, squares, 0.01)


def test_small_pictures_are_padded_not_scaled():
    network = Squares()
    squares = [(10, 20, 30), (200, 100, 45), (345, 70, 56)]
    (faces,) = ScaledDetector(RECORD, network)([picture_of(401, 203, squares)])
    matches(faces, squares, 0.01)
    assert network.shapes == [(1, 224, 416)]


@pytest.mark.parametrize(("width", "height"), [(1280, 960), (1283, 977), (977, 1283), (4000, 1000), (641, 640)])
def test_large_pictures_are_reduced_and_faces_scaled_back(width, height):
    network = Squares()
    squares = [(41, 53, 160), (width - 331, height - 297, 210)]
    (faces,) = ScaledDetector(RECORD, network, size=640)([picture_of(width, height, squares)])
    matches(faces, squares, MARGIN * max(width, height) / 640)
    assert max(network.shapes[0][1:]) == 640


def test_size_is_a_knob():
    network = Squares()
    image = picture_of(1280, 960, [(100, 200, 300)])
    for size in (32, 320, 1280, 5000):
        (faces,) = ScaledDetector(RECORD, network, size=size)([image])
        matches(faces, [(100, 200, 300)], MARGIN * max(1280 / size, 1))
    with pytest.raises(ValueError, match="at least 32"):
        ScaledDetector(RECORD, network, size=31)


def test_threshold_is_the_records_unless_given():
    image = picture_of(300, 300, [(10, 10, 50)], brightness=60)  # score 0.61
    assert len(ScaledDetector(RECORD, Squares())([image])[0]) == 0
    assert len(ScaledDetector(RECORD, Squares(), threshold=0.6)([image])[0]) == 1


def test_best_first():
    squares = [(10, 10, 50), (100, 10, 50), (200, 10, 50)]
    for size in (640, "full"):
        (faces,) = ScaledDetector(RECORD, Squares(), size=size)([picture_of(300, 100, squares[::-1])])
        assert (np.diff(faces.scores) < 0).all()
        assert (np.diff(faces.boxes[:, 0]) < 0).all()


def test_pictures_of_many_sizes_come_back_in_order():
    network = Squares()
    rng = np.random.default_rng(0)
    images, wanted = [], []
    for i in range(40):
        width, height = [(640, 480), (480, 640), (1280, 960), (333, 777), (64, 64)][i % 5]
        side = int(rng.integers(20, 40)) * (2 if width == 1280 else 1)
        square = (int(rng.integers(0, width - side)), int(rng.integers(0, height - side)), side)
        wanted.append([square] if i % 7 else [])
        images.append(picture_of(width, height, wanted[-1]))
    found = ScaledDetector(RECORD, network)(images)
    for image, faces, squares in zip(images, found, wanted, strict=True):
        matches(faces, squares, 2 * MARGIN)
        assert faces.image_size == (image.shape[1], image.shape[0])
    assert len(network.shapes) < len(images) / 2  # pictures of one size went together
    assert max(n * h * w for n, h, w in network.shapes) <= 8 * 640 * 640


def test_what_a_network_sees_in_the_padding_is_dropped():
    class Everywhere(Squares):
        def _find(self, light, threshold):
            boxes = np.float32([[0, 0, 10, 10], [-5, 5, 40, 20], [34, 2, 60, 30], [0, 30, 30, 60]])
            return boxes, np.float32([0.99, 0.98, 0.97, 0.96]), np.zeros((4, 5, 2), np.float32)

    (faces,) = ScaledDetector(RECORD, Everywhere())([picture_of(33, 29, [])])
    np.testing.assert_array_equal(faces.boxes, [[0, 0, 10, 10], [0, 5, 33, 20]])


def border_squares(side, width=2500, height=1900, step=131):
    """Squares of one size all over, whatever tiles there are; gaps between them keep the rows apart."""
    return [
        (x, y, side)
        for y in range(3, height - side, side + step)
        for x in range(5 + (y * 37) % step, width - side, side + step)
    ]


@pytest.mark.parametrize("side", [12, 40, 100, 180, 250])
@pytest.mark.parametrize("grid", [0, 4])
def test_tiles_lose_nothing_and_double_nothing(side, grid):
    squares = border_squares(side)[:80]
    network = Squares(smallest=10, grid=grid)
    (faces,) = ScaledDetector(RECORD, network, size="full")([picture_of(2500, 1900, squares)])
    # the reduced view finds most of them too, if coarsely; the finer one need not win where both say the same
    matches(faces, squares, (grid / 2 + MARGIN) * 2500 / 640)
    assert max(max(shape[1:]) for shape in network.shapes) == 1024


@pytest.mark.parametrize("offset", range(-6, 7))
def test_a_face_between_two_tiles_is_not_lost_when_they_place_it_otherwise(offset):
    """Tiles of a picture 1792 wide start at 0 and 768; its middle, 896, is where one hands over to the other.

    The network places what it sees on a grid from the tile's own corner, so that each tile may put a face
    there on the other's side. The reduced view, which would help, sees nothing here.
    """

    class Fine(Squares):
        def _find(self, light, threshold):
            return super()._find(light, threshold) if light.shape == (1024, 1024) else super()._find(0 * light, 1)

    square = (866 + offset, 300, 60)
    image = picture_of(1792, 1024, [square])
    (faces,) = ScaledDetector(RECORD, Fine(grid=20), size="full")([image])
    matches(faces, [square], 10.01)


@pytest.mark.parametrize("side", [300, 600, 1100, 1700])
def test_faces_larger_than_the_overlap_are_found_once(side):
    squares = [(411, 57, side)]
    network = Squares(largest=400)  # networks know faces up to a size; the reduced view brings these under it
    (faces,) = ScaledDetector(RECORD, network, size="full")([picture_of(3000, 2000, squares)])
    matches(faces, squares, MARGIN * 3000 / 640)


def test_full_does_not_tile_what_fits():
    network = Squares()
    squares = [(3, 4, 50), (900, 500, 100)]
    (faces,) = ScaledDetector(RECORD, network, size="full")([picture_of(1000, 700, squares)])
    matches(faces, squares, 0.01)
    assert network.shapes == [(1, 704, 1024)]


def test_faces_do_not_overlap_after_merging():
    squares = border_squares(90, 2200, 1500)[:60]
    (faces,) = ScaledDetector(RECORD, Squares(smallest=10, grid=4), size="full")([picture_of(2200, 1500, squares)])
    overlap = box_ops.iou(faces.boxes, faces.boxes) - np.eye(len(faces))
    assert overlap.max() < 0.3
