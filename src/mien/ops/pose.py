"""Head pose from five landmarks.

A generic face of five points in three dimensions is fitted to the landmarks under scaled orthography (a camera far
away): the least-squares affine map from the face to the picture, and the scaled rotation nearest to it by its singular
values (Kabsch 1976, for two rows). Closed form; all faces at once.

The face was found by factorisation (Tomasi and Kanade 1992) of the landmarks that CenterFace gives on lfw_dev and their
mirror images, with the metric constraints that make each camera a scaled rotation: recipes/quality.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHAPE = np.array(
    [(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.514, -0.451), (-0.42, 0.998, 0.0), (0.42, 0.998, 0.0)], dtype=np.float64
)
"""(5, 3): the landmarks of the generic face, in distances between the eyes; x right, y down, z away from the camera."""
PITCH_OF_THE_PLANE = -6.0
"""Degrees: the plane of eyes and mouth when a face looks at the camera (the median of lfw_dev): the mouth is nearer."""


def head_pose(landmarks: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How heads are turned.

    - yaw: above 0 where the face looks to the right of the picture.
    - pitch: above 0 where it looks up; 0 is the median of lfw_dev.
    - roll: above 0 where it is tilted clockwise as seen: the angle of the line through the eyes.

    The rotation is roll, after yaw, after pitch: turning the picture changes roll alone, and mirroring it changes the
    signs of yaw and roll. Measured accuracy and limits: docs/quality.md.

    Args:
        landmarks: (N, 5, 2), xy in pixels: left eye, right eye (as seen), nose tip, left and right mouth corner.

    Returns:
        (N, 3) float64 yaw, pitch and roll in degrees, in [-90, 90] the first two and [-180, 180] roll; and (N,)
        float64, how badly the generic face fits: the distance that is left, as a part of the landmarks' spread, in
        [0, 1]. They are 0 and 1 where landmarks coincide or are not finite.
    """
    points = landmarks.astype(np.float64)
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    points = np.where(finite[:, None, None], points, 0.0)
    points = points - points.mean(axis=1, keepdims=True)
    spread = np.linalg.norm(points, axis=(1, 2))
    usable = finite & (spread > 1e-6)
    points = np.where(usable[:, None, None], points, 0.0) / np.where(usable, spread, 1.0)[:, None, None]
    shape = SHAPE - SHAPE.mean(axis=0)
    affine = np.einsum("kp,npd->ndk", np.linalg.pinv(shape), points)  # (N, 2, 3)
    left, scales, right = np.linalg.svd(affine, full_matrices=False)
    rotation = left @ right
    fitted = scales.mean(axis=1)[:, None, None] * np.einsum("pk,ndk->npd", shape, rotation)
    error = np.where(usable, np.linalg.norm(points - fitted, axis=(1, 2)), 1.0)
    angles = np.where(usable[:, None], _angles(rotation), 0.0)
    return angles, np.minimum(error, 1.0)


def _angles(rotation: Floats) -> Floats:
    """(N, 3) yaw, pitch, roll in degrees of (N, 2, 3): the first two rows of rotations."""
    third = np.cross(rotation[:, 0], rotation[:, 1])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    x, y, z = -rotation[:, 0, 2], -rotation[:, 1, 2], -third[:, 2]  # where the face looks: its -z axis
    upright_x = np.cos(roll) * x + np.sin(roll) * y
    upright_y = np.cos(roll) * y - np.sin(roll) * x
    yaw = np.arctan2(upright_x, -z)
    pitch = np.arcsin(np.clip(-upright_y, -1.0, 1.0))
    angles = np.degrees(np.stack([yaw, pitch, roll], axis=1))
    angles[:, 1] = np.clip(angles[:, 1] - PITCH_OF_THE_PLANE, -90.0, 90.0)
    angles[:, 0] = np.clip(angles[:, 0], -90.0, 90.0)
    result: Floats = angles
    return result
