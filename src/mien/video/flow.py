"""Following faces from frame to frame by optical flow, between detections.

Points in each face are followed by pyramidal Lucas-Kanade (Bouguet 2001) to the next frame and back again; those that
do not come back to where they set out are not believed (Kalal et al. 2010, "Forward-backward error"). A similarity
fitted to the others carries the box and its landmarks along.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mien.types import FloatArray, ImageArray

Bools = npt.NDArray[np.bool_]
Grey = npt.NDArray[np.uint8]

SIDE = 640
"""Longest side in pixels at which flow is computed; larger frames are reduced."""
_GRID = 5  # points a side
_MIDDLE = 0.7  # the part of the box in which they lie: what is around a face does not move with it
_WINDOW, _LEVELS = (15, 15), 3
_SMALLEST = 32  # pixels: in smaller frames nothing can be followed
_LEAST = 0.4  # the share of points that must come back
_ASTRAY = 0.03  # of the face's size: how far a point may come back from where it set out, but 1 pixel
_GROWTH = 1.3  # more than that, or less than its inverse, no face grows between two frames
_STEP = 1.0  # face sizes that it may move


class FaceFlow:
    """Carries faces from one frame to the next; keeps no more than the last frame."""

    def __init__(self) -> None:
        self._now: Grey | None = None
        self._before: Grey | None = None
        self._scale = 1.0

    def see(self, image: ImageArray) -> Grey:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8 RGB; from one of another size nothing is followed.

        Returns:
            (h, w) uint8: the frame in grey, of `SIDE` pixels at most.
        """
        height, width = image.shape[:2]
        self._scale = min(1.0, SIDE / max(height, width))
        if self._scale < 1:
            size = max(round(width * self._scale), 1), max(round(height * self._scale), 1)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        self._before = self._now if self._now is not None and self._now.shape == grey.shape else None
        self._now = grey
        return grey

    def forget(self) -> None:
        """Follow nothing from the frames before into the last one."""
        self._before = None

    def follow(self, boxes: FloatArray, landmarks: FloatArray) -> tuple[FloatArray, FloatArray, Bools]:
        """Carry faces from the frame before to the last one.

        Args:
            boxes: (N, 4) float32 in pixels of the frame before.
            landmarks: (N, 5, 2) float32.

        Returns:
            (N, 4) boxes and (N, 5, 2) landmarks in the last frame, and (N,) bool: whether they can be believed; faces
            that were lost stay where they were.
        """
        boxes, landmarks, held = boxes.copy(), landmarks.copy(), np.zeros(len(boxes), dtype=np.bool_)
        if self._before is None or self._now is None or min(self._now.shape) < _SMALLEST or not len(boxes):
            return boxes, landmarks, held
        starts = np.stack([_points(box, marks) for box, marks in zip(boxes, landmarks, strict=True)])
        ends, astray = self._there_and_back(self._before, self._now, starts)
        astray[_shared(starts, boxes)] = np.inf
        for i, box in enumerate(boxes):
            moved = _similarity(starts[i], ends[i], astray[i], _size(box), self._scale)
            if moved is not None:
                held[i] = True
                boxes[i], landmarks[i] = _carried(box, moved), landmarks[i] @ moved[:, :2].T + moved[:, 2]
        return boxes, landmarks, held

    def _there_and_back(self, before: Grey, now: Grey, starts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N, K, 2) points to where they are now, and (N, K) how far off they come back: inf where lost."""
        offset = (self._scale - 1) / 2  # pixel centres are at integers, in both scales
        there = (starts.reshape(-1, 1, 2) * self._scale + offset).astype(np.float32)
        ahead, found = _flow(before, now, there)
        back, returned = _flow(now, before, ahead)
        end = now.shape[1] - 1, now.shape[0] - 1
        good = found & returned
        for points in (there, ahead):
            good &= ((points >= 0) & (points <= end)).all(axis=(1, 2))
        astray = np.where(good, np.linalg.norm(back - there, axis=2)[:, 0], np.inf)
        ends = ((ahead - offset) / self._scale).reshape(starts.shape).astype(np.float32)
        return ends, astray.reshape(starts.shape[:2]).astype(np.float32)


def _flow(before: Grey, now: Grey, points: FloatArray) -> tuple[FloatArray, Bools]:
    """(P, 1, 2) points to where they are now, and (P,) whether they were found."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, points.copy(), winSize=_WINDOW, maxLevel=_LEVELS)
    return np.asarray(moved, dtype=np.float32), np.asarray(found)[:, 0] == 1


def _shared(points: FloatArray, boxes: FloatArray) -> Bools:
    """(N, K) whether the points of each face lie on another as well: nobody knows which of both is in front."""
    shared = np.zeros(points.shape[:2], dtype=np.bool_)
    for i, box in enumerate(boxes):
        inside = ((points >= box[:2]) & (points <= box[2:])).all(axis=2)
        inside[i] = False
        shared |= inside
    return shared


def _points(box: FloatArray, landmarks: FloatArray) -> FloatArray:
    """(K, 2): a grid over the middle of a face, and its landmarks."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * _MIDDLE
    steps = np.linspace(-1.0, 1.0, _GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * half + centre
    return np.concatenate([grid, landmarks]).astype(np.float32)


def _similarity(
    starts: FloatArray, ends: FloatArray, astray: FloatArray, size: float, scale: float
) -> npt.NDArray[np.float64] | None:
    """(2, 3) how most of the points moved, or None where too few can be believed."""
    good = astray <= max(1.0, _ASTRAY * size * scale)
    if good.sum() < max(4, _LEAST * len(starts)):
        return None
    tolerance = max(1.0 / scale, _ASTRAY * size)
    moved, inliers = cv2.estimateAffinePartial2D(starts[good], ends[good], ransacReprojThreshold=tolerance)
    if moved is None or inliers.sum() < max(4, _LEAST * len(starts)):
        return None
    growth = float(np.hypot(moved[0, 0], moved[1, 0]))
    centre = starts.mean(axis=0)
    step = float(np.linalg.norm(moved[:, :2] @ centre + moved[:, 2] - centre))
    return np.asarray(moved) if 1 / _GROWTH <= growth <= _GROWTH and step <= _STEP * size else None


def _carried(box: FloatArray, moved: npt.NDArray[np.float64]) -> FloatArray:
    """The box, moved and grown, and upright as before."""
    centre = moved[:, :2] @ ((box[:2] + box[2:]) / 2) + moved[:, 2]
    half = (box[2:] - box[:2]) / 2 * np.hypot(moved[0, 0], moved[1, 0])
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _size(box: FloatArray) -> float:
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))
