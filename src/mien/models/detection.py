"""From a detector's network to faces of pictures of any size: scaling, padding, batching, tiling, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from mien.models.base import Detections, DetectorNetwork, Record
from mien.ops import boxes as box_ops
from mien.types import Faces, FloatArray, ImageArray

InputSize = int | Literal["full"]

DEFAULT_SIZE = 640
_TILE = 1024  # pixels; larger pictures are cut in `full` mode, so that memory does not grow with the picture
_OVERLAP = 256  # faces up to this size lie whole in one tile; larger ones are found in the reduced picture
_SLACK = 16  # two tiles place one face a little differently: this near to the line between, both keep it
_MERGE_IOU = 0.3
_BATCH_PIXELS = 8 * DEFAULT_SIZE * DEFAULT_SIZE


@dataclass(frozen=True)
class _View:
    """A part of a picture as a network will see it: picture = network / scale + corner."""

    image: int
    x: int
    y: int
    width: int
    height: int
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in network pixels."""
        return max(round(self.width * self.scale), 1), max(round(self.height * self.scale), 1)


class ScaledDetector:
    """Finds faces in pictures of any size with a network that wants its own.

    Args:
        record: of the network; its threshold is the default.
        network: finds faces in pictures of its size.
        size: longest side, in pixels, at which a picture is searched; larger pictures are reduced to it, smaller
            ones are left as they are. "full" searches at the picture's own size, in tiles if it is large.
        threshold: lowest score of a face.

    Attributes:
        record: of the network.
        threshold: lowest score of a face, unless a call says another.
    """

    def __init__(
        self,
        record: Record,
        network: DetectorNetwork,
        *,
        size: InputSize = DEFAULT_SIZE,
        threshold: float | None = None,
    ) -> None:
        if size != "full" and size < network.multiple:
            raise ValueError(f"size is {size}; it must be at least {network.multiple}, or 'full'")
        self.record = record
        self._network = network
        self._size = size
        self.threshold = threshold if threshold is not None else (record.threshold or 0.5)

    def __call__(self, images: Sequence[ImageArray], *, threshold: float | None = None) -> list[Faces]:
        """Find the faces of each picture.

        Pictures that have the same size for the network are searched as one batch.

        Args:
            images: RGB uint8 (H, W, 3), of any sizes.
            threshold: lowest score of a face, if another than the detector's own.

        Returns:
            One `Faces` per picture, highest score first, in pixels of that picture.
        """
        lowest = self.threshold if threshold is None else threshold
        by_shape: dict[tuple[int, int], list[_View]] = defaultdict(list)
        for i, image in enumerate(images):
            for view in self._views(i, *image.shape[:2]):
                by_shape[self._padded(view.size)].append(view)
        found: list[list[Detections]] = [[] for _ in images]
        for shape, views in by_shape.items():
            for batch in _batches(views, shape):
                self._search(images, batch, shape, lowest, found)
        return [_merge(parts, image.shape) for parts, image in zip(found, images, strict=True)]

    def _views(self, image: int, height: int, width: int) -> Iterator[_View]:
        longest = max(height, width)
        if self._size != "full":
            yield _View(image, 0, 0, width, height, min(1.0, self._size / longest))
            return
        if longest <= _TILE:
            yield _View(image, 0, 0, width, height, 1.0)
            return
        # A pyramid: each level, half as large as the one before, finds the faces that no tile below could hold.
        step = 1
        while longest > step * _TILE:
            for y, tile_height in _tiles(height, step):
                for x, tile_width in _tiles(width, step):
                    yield _View(image, x, y, tile_width, tile_height, 1 / step)
            step *= 2
        yield _View(image, 0, 0, width, height, DEFAULT_SIZE / longest)

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        m = self._network.multiple
        return -(-size[0] // m) * m, -(-size[1] // m) * m

    def _search(
        self,
        images: Sequence[ImageArray],
        views: Sequence[_View],
        shape: tuple[int, int],
        threshold: float,
        found: list[list[Detections]],
    ) -> None:
        width, height = shape
        canvas = np.zeros((len(views), height, width, 3), dtype=np.uint8)
        for picture, view in zip(canvas, views, strict=True):
            w, h = view.size
            part = images[view.image][view.y : view.y + view.height, view.x : view.x + view.width]
            picture[:h, :w] = part if part.shape[:2] == (h, w) else _resized(part, w, h)
        for view, detections in zip(views, self._network(canvas, threshold), strict=True):
            found[view.image].append(_placed(detections, view, images[view.image].shape))


def _resized(part: ImageArray, width: int, height: int) -> ImageArray:
    """Averaged where it shrinks to less than half, else bilinear, which is several times faster and aliases little."""
    half = 2 * width <= part.shape[1]
    way = cv2.INTER_AREA if half else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=way), dtype=np.uint8)


def _batches(views: Sequence[_View], shape: tuple[int, int]) -> Iterator[Sequence[_View]]:
    n = max(1, _BATCH_PIXELS // (shape[0] * shape[1]))
    return (views[i : i + n] for i in range(0, len(views), n))


def _tiles(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Start and length, in the picture's pixels, of tiles that cover `length` and overlap.

    Args:
        length: of the picture's side.
        step: pixels of the picture for one of the network's; tiles and overlap are as large for the network as ever.
    """
    tile, overlap = _TILE * step, _OVERLAP * step
    if length <= tile:
        yield 0, length
        return
    count = -(-(length - overlap) // (tile - overlap))
    for start in np.linspace(0, length - tile, count).astype(int):
        yield int(start), tile


def _placed(detections: Detections, view: _View, shape: tuple[int, ...]) -> Detections:
    """Map to pixels of the picture, and drop what another view sees better."""
    boxes, scores, landmarks = detections
    view_size = np.array([view.width, view.height], dtype=np.float32)
    scale = view_size / np.array(view.size, dtype=np.float32)
    corner = np.array([view.x, view.y], dtype=np.float32)
    boxes = (boxes.reshape(-1, 2, 2) * scale + corner).reshape(-1, 4).astype(np.float32)
    landmarks = (landmarks * scale + corner).astype(np.float32)
    own = _is_own(boxes, view, corner, corner + view_size, np.array([shape[1], shape[0]]))
    return boxes[own], scores[own], landmarks[own]


def _is_own(
    boxes: FloatArray,
    view: _View,
    start: npt.NDArray[np.floating],
    end: npt.NDArray[np.floating],
    picture: npt.NDArray[np.integer],
) -> npt.NDArray[np.bool_]:
    """(K,) whether this view is the one to see a face, of those that overlap it; the whole picture sees all.

    A face between two tiles belongs to the one whose edge is farther away: half of the overlap is its own. A face
    larger than the overlap may be cut by every tile: it belongs to the next, coarser level.
    """
    cut_start, cut_end = start > 0, end < picture
    if not (cut_start.any() or cut_end.any()):
        return np.ones(len(boxes), dtype=np.bool_)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    edge = (_OVERLAP / 2 - _SLACK) / view.scale
    low = np.where(cut_start, start + edge, -np.inf)
    high = np.where(cut_end, end - edge, np.inf)
    fits = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) <= _OVERLAP / view.scale
    own: npt.NDArray[np.bool_] = fits & ((centres >= low) & (centres <= high)).all(axis=1)
    return own


def _merge(parts: Sequence[Detections], shape: tuple[int, ...]) -> Faces:
    height, width = shape[:2]
    boxes, scores, landmarks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if len(parts) > 1:
        kept = box_ops.nms(boxes, scores, _MERGE_IOU)
        boxes, scores, landmarks = boxes[kept], scores[kept], landmarks[kept]
    boxes = box_ops.clip(boxes, width, height)
    visible = box_ops.area(boxes) > 0
    return Faces(boxes[visible], scores[visible], landmarks[visible], (width, height))
