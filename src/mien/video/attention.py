"""What a camera can say of attention, as described measures: how much of the time a face was towards it, and eyes open.

That is where a head points, and nothing about a mind: somebody who listens with closed eyes, takes notes, or looks at
the board beside the camera has a low share, and an idle starer a high one. docs/video.md says what follows from that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mien.video.columns import Row

FACING = 25.0
"""Degrees of yaw and pitch within which a face is towards the camera, unless another angle is given."""
_OPEN = 0.5  # probability of one eye


@dataclass
class Attention:
    """Seconds of one track, or of one person.

    Attributes:
        degrees: within which yaw and pitch, each, count as towards the camera.
        facing: seconds with the face towards the camera.
        turned: seconds with it turned away.
        open: seconds with at least one eye open.
        closed: seconds with both closed.
    """

    degrees: float = FACING
    facing: float = 0.0
    turned: float = 0.0
    open: float = 0.0
    closed: float = 0.0

    def add(self, row: Row) -> None:
        """Look at a face; one that was not seen, or of which nothing is known, changes nothing."""
        if not row.seen:
            return
        seconds = row.end - row.time
        if not math.isnan(row.yaw):
            if abs(row.yaw) <= self.degrees and abs(row.pitch) <= self.degrees:
                self.facing += seconds
            else:
                self.turned += seconds
        if not math.isnan(row.left):
            if max(row.left, row.right) >= _OPEN:
                self.open += seconds
            else:
                self.closed += seconds

    def plus(self, other: Attention) -> Attention:
        """Both together."""
        return Attention(
            self.degrees,
            self.facing + other.facing,
            self.turned + other.turned,
            self.open + other.open,
            self.closed + other.closed,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: shares of the time for which it is known; what is not known is absent."""
        out: dict[str, Any] = {}
        if known := self.facing + self.turned:
            out["facing_camera"] = {
                "share": round(self.facing / known, 4),
                "of_seconds": round(known, 2),
                "degrees": self.degrees,
            }
        if known := self.open + self.closed:
            out["eyes_open"] = {"share": round(self.open / known, 4), "of_seconds": round(known, 2)}
        return out
