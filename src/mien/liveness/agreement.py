"""May this person be recognised at all? Not after they withdrew their consent, nor when their time is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from mien.errors import LivenessError
from mien.gallery.records import Person
from mien.liveness.reasons import SENTENCES

__all__ = ["NotAgreedError", "Objection", "check_agreement", "objection"]

Objection = Literal["withdrawn", "expired"]


class NotAgreedError(LivenessError):
    """Somebody may not be recognised, and so not be let in.

    Attributes:
        reason: "withdrawn" or "expired".
    """

    def __init__(self, reason: Objection) -> None:
        super().__init__(SENTENCES[reason]["en"])
        self.reason: Objection = reason


def objection(person: Person, at: datetime | None = None) -> Objection | None:
    """What stands against recognising somebody, or None.

    Where no consent was ever noted there may be other grounds, which a gallery does not know: that is no objection.

    Args:
        person: of a gallery.
        at: when, with time zone; now by default.
    """
    if person.withdrawn_at is not None:
        return "withdrawn"
    over = person.expires is not None and person.expires <= (at or datetime.now(UTC))
    return "expired" if over else None


def check_agreement(person: Person) -> None:
    """Stop where somebody may not be recognised now.

    Raises:
        NotAgreedError: they withdrew their consent, or their time is over.
    """
    if (found := objection(person)) is not None:
        raise NotAgreedError(found)
