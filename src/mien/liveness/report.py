"""The result of one attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mien.liveness.challenge import Action
from mien.liveness.reasons import Reason, sentence
from mien.liveness.verifying import Verdict
from mien.ops.advice import Language

__all__ = ["Report"]

_DECIMALS = 4


@dataclass(frozen=True)
class Report:
    """What came of an attempt. Only `accepted` opens anything.

    Attributes:
        reason: "accepted", or why not.
        nonce: of the challenge; this report answers no other.
        stream: SHA-256, in hex, over the nonce and the pixels of all frames in order: what the report is about.
        challenge: what was asked.
        steps: how many of it were done.
        gallery: id of the gallery.
        person: id of the person.
        seconds: from first frame to last.
        verdict: of the comparison; None where it did not come to that.
        measures: by name; for whoever runs the door, not for who stands before it.
    """

    reason: Reason
    nonce: str
    stream: str
    challenge: tuple[Action, ...]
    steps: int
    gallery: str
    person: str
    seconds: float
    verdict: Verdict | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "measures", MappingProxyType(dict(self.measures)))

    @property
    def accepted(self) -> bool:
        """Whether to open."""
        return self.reason == "accepted"

    def sentence(self, language: Language = "en") -> str:
        """For the person in front of the camera."""
        return sentence(self.reason, language)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out: dict[str, Any] = {
            "accepted": self.accepted,
            "reason": self.reason,
            "text": {"en": self.sentence("en"), "zh": self.sentence("zh")},
            "nonce": self.nonce,
            "stream": self.stream,
            "challenge": list(self.challenge),
            "steps": self.steps,
            "gallery": self.gallery,
            "person": self.person,
            "seconds": round(self.seconds, 3),
        }
        if self.verdict is not None:
            out["verification"] = {
                "same": self.verdict.same,
                "similarity": round(self.verdict.similarity, _DECIMALS),
                "threshold": round(self.verdict.threshold, _DECIMALS),
                "fmr": self.verdict.fmr,
                "probes": self.verdict.probes,
            }
        return out | {"measures": {name: round(float(value), _DECIMALS) for name, value in self.measures.items()}}
