"""Finds the rule of an embedder: one that was fitted to it (`recipes/identification.py`), or one from its record."""

from __future__ import annotations

from functools import cache

from mien.errors import ModelError
from mien.gallery.decision import Rule
from mien.models.base import Record
from mien.models.density import read_fitted


def rule_for(record: Record, mode: str) -> Rule:
    """What similarities of an embedder mean in a gallery.

    Args:
        record: of the embedder.
        mode: "fast" or "accurate".

    Raises:
        ModelError: nobody has measured this embedder in this mode.
    """
    fitted = _fitted(record.name, record.weights.sha256).get(mode)
    if fitted is not None:
        return fitted
    calibration = record.calibrations.get(mode)
    if calibration is None:
        raise ModelError(
            f"nobody has measured what similarities of {record.name} ({mode}) mean in a gallery; set a threshold by"
            " hand (`mien identify --threshold`): `mien evaluate identification` recommends one"
        )
    return Rule.of(calibration, record.metric or "l2")


@cache
def _fitted(name: str, sha256: str) -> dict[str, Rule]:
    """The rules of an embedder's weights, by mode; none where nobody fitted any to exactly these weights."""
    found = read_fitted("identification", name, sha256)
    if found is None:
        return {}
    scale, modes = found
    return {
        mode: Rule(
            tail=tuple((s, rate) for s, rate in values["tail"]),
            logistic=(values["logistic"][0], values["logistic"][1]),
            faces_gain=values["faces_gain"],
            scale=scale,
        )
        for mode, values in modes.items()
    }
