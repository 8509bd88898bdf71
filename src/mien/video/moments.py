"""Moments: who is in one frame of a video, and what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.types import Faces
from mien.video.state import State


@dataclass(frozen=True, eq=False)
class Moment:
    """Who is in one frame, and what they show.

    Attributes:
        frame: number of the frame, from 0.
        time: seconds since the start of the source.
        ids: (N,) int64, the track of each face, from 1. No number is used for two people; somebody who comes back has
            the same number again if their looks say so.
        faces: the N faces; embeddings are each track's last. What models say of a face that is not seen is what they
            said last, and its score is 0.
        seen: (N,) bool, False where a face is hidden just now and its place is a guess.
        people: the N names from the gallery, None where there is none; no name comes twice.
        image_size: (width, height) of the frame.
        embedded: (N,) bool, whether the embedding was made of this frame.
        clear: (N,) bool, whether the track was seen well enough so far to tell whether it is of somebody who was here
            before; where it never is, nobody knows whether it is one more person.
        cut: whether another scene begins with this frame.
        came_back: (number, earlier number) of tracks that only now turn out to be of people who were here before; both
            are the same person from then on.
        state: what is known by then, of one moment a second of a file, so that another run can go on from there.

    Raises:
        ValueError: there are not as many of each.
    """

    frame: int
    time: float
    ids: npt.NDArray[np.int64]
    faces: Faces
    seen: npt.NDArray[np.bool_]
    people: tuple[str | None, ...]
    image_size: tuple[int, int]
    embedded: npt.NDArray[np.bool_]
    clear: npt.NDArray[np.bool_]
    cut: bool = False
    came_back: tuple[tuple[int, int], ...] = ()
    state: State | None = None

    def __post_init__(self) -> None:
        n = len(self.faces)
        for name, kind in (("ids", np.int64), ("seen", np.bool_), ("embedded", np.bool_), ("clear", np.bool_)):
            array = np.array(getattr(self, name), dtype=kind)
            if array.shape != (n,):
                raise ValueError(f"{name} has shape {array.shape}, expected {(n,)}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if len(self.people) != n:
            raise ValueError(f"{len(self.people)} names for {n} faces")

    def __len__(self) -> int:
        return len(self.faces)

    def __repr__(self) -> str:
        who = ", ".join(
            f"{number}{f' {person}' if person else ''}{'' if seen else ' (hidden)'}"
            for number, person, seen in zip(self.ids, self.people, self.seen, strict=True)
        )
        return f"Moment({self.time:.2f} s: {who or 'nobody'})"

    def to_dict(self, *, embeddings: bool = False) -> dict[str, Any]:
        """JSON-ready: `frame`, `time`, and `faces` as those of a picture, each with its `track`; `seen` if False."""
        faces = self.faces.to_dicts(embeddings=embeddings)
        for face, number, seen, person in zip(faces, self.ids, self.seen, self.people, strict=True):
            face["track"] = int(number)
            if not seen:
                face["seen"] = False
            if person is not None:
                face["identity"] = {"person": person}
        width, height = self.image_size
        return {
            "frame": self.frame,
            "time": round(self.time, 4),
            "image": {"width": width, "height": height},
            "faces": faces,
        } | ({"cut": True} if self.cut else {})
