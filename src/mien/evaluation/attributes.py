"""Age and gender: run a network over labelled pictures and measure its answers, also by group.

A picture that cannot be read is listed; one in which no face is found is counted (`missed`): neither is in the figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.attributes import AttributeSet
from mien.datasets.base import NO_ANSWER
from mien.errors import DataError, ImageError
from mien.evaluation.expression import Cut, Unreadable
from mien.evaluation.metrics import Ints
from mien.evaluation.prefetch import prefetched
from mien.evaluation.verification import Progress
from mien.models.attributes import GENDERS, AttributesNetwork, years_of
from mien.types import FloatArray, ImageArray

BANDS = ((0, 2), (3, 9), (10, 15), (16, 29), (30, 44), (45, 59), (60, 130))
"""Groups of ages, both ends included, by which errors are reported."""
GROWN = 16
"""The age from which gender is also reported by itself: of small children, even people can hardly tell."""
_BATCH = 32
_DECIMALS = 4


@dataclass(frozen=True)
class GroupFigures:
    """Errors on a group of faces; None where there is nothing to measure.

    Attributes:
        n: number of faces.
        mae: mean absolute error of the age, in years.
        bias: mean error of the age in years: above 0 where faces are taken for older.
        gender_accuracy: share of genders that are right, however unsure.
    """

    n: int
    mae: float | None
    bias: float | None
    gender_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what was not measured is absent."""
        values = {"n": self.n, "mae": self.mae, "bias": self.bias, "gender_accuracy": self.gender_accuracy}
        return {k: round(v, _DECIMALS) if isinstance(v, float) else v for k, v in values.items() if v is not None}


@dataclass(frozen=True, eq=False)
class AttributesReport:
    """The figures of one network on one set.

    Attributes:
        data: name of the set.
        model: name of the network.
        overall: all faces.
        grown: those of `GROWN` years and more.
        within: share of ages within one and two standard deviations of the answer: 68 and 95 % where these are honest.
        uncertain: share of genders that are answered "uncertain".
        rest: accuracy of gender on the others.
        by: by "age", "gender" and "group": the figures of each.
        missed: number of pictures in which no face was found.
        unreadable: pictures that could not be read.
        left_out: number of pictures whose labels could not be understood.
        ms_per_face: of the network alone, in batches of 32.
        setup: what else the figures depend on, by name.
        ages: (N,) true and answered ages of the faces whose age is known, for pictures.
    """

    data: str
    model: str
    overall: GroupFigures
    grown: GroupFigures
    within: tuple[float, float] | None
    uncertain: float | None
    rest: float | None
    by: Mapping[str, Mapping[str, GroupFigures]]
    missed: int
    unreadable: tuple[Unreadable, ...] = ()
    left_out: int = 0
    ms_per_face: float = 0.0
    setup: Mapping[str, str | int] = field(default_factory=dict)
    ages: tuple[Ints, FloatArray] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.float32)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the one schema of `mien evaluate attributes`; what was not measured is absent."""
        age = {"mae": self.overall.mae, "bias": self.overall.bias}
        if self.within:
            age |= {"within_1_sd": self.within[0], "within_2_sd": self.within[1]}
        gender = {
            "accuracy": self.overall.gender_accuracy,
            f"accuracy_from_{GROWN}": self.grown.gender_accuracy,
            "uncertain": self.uncertain,
            "accuracy_on_rest": self.rest,
        }
        return {
            "protocol": "detected faces; age in years, gender by the most probable answer",
            "n": self.overall.n,
            "model": self.model,
            "data": self.data,
            **self.setup,
            "age": _known(age),
            "gender": _known(gender),
            "by": {kind: {name: of.to_dict() for name, of in groups.items()} for kind, groups in self.by.items()},
            "missed": self.missed,
            "left_out": self.left_out,
            "unreadable": [{"path": bad.item, "error": bad.reason} for bad in self.unreadable],
            "ms_per_face": round(self.ms_per_face, 3),
        }

    def summary(self) -> dict[str, Any]:
        """The figures that go into a model's card."""
        whole = self.to_dict()
        groups = {
            f"{kind} {name}": _known({"age_mae": of.mae, "gender_accuracy": of.gender_accuracy})
            for kind, groups in self.by.items()
            for name, of in groups.items()
        }
        return {"n": whole["n"], "age": whole["age"], "gender": whole["gender"], **groups}


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, _DECIMALS) for name, value in values.items() if value is not None}


def evaluate_attributes(
    pictures: AttributeSet,
    network: AttributesNetwork,
    *,
    cut: Cut,
    setup: Mapping[str, str | int] | None = None,
    progress: Progress | None = None,
) -> AttributesReport:
    """Measure a network on labelled pictures.

    Args:
        pictures: the set.
        network: the model.
        cut: finds the face of a picture and cuts it as the network's card says.
        setup: what else the figures depend on, for the report.
        progress: called with (pictures done, pictures in all) after each batch.

    Raises:
        DataError: no picture can be measured.
        ModelError: the network fails.
    """
    run = _run(pictures, network, cut, progress)
    if not len(run.measured):
        raise DataError(
            f"{pictures.name}: not one of {len(pictures)} pictures can be measured: no face found in {run.missed},"
            f" {len(run.unreadable)} cannot be read"
        )
    years, sd = years_of(run.ages)
    of = _Faces(
        years,
        sd,
        run.genders,
        pictures.ages[run.measured],
        pictures.genders[run.measured],
        np.array([pictures.groups[i] for i in run.measured]),
    )
    sure = of.genders.max(axis=1) >= network.card.gender_threshold
    known = of.true_genders != NO_ANSWER
    return AttributesReport(
        data=pictures.name,
        model=network.name,
        overall=of.figures(np.ones(len(years), bool)),
        grown=of.figures(of.true_ages >= GROWN),
        within=of.within(),
        uncertain=float((~sure[known]).mean()) if known.any() else None,
        rest=of.figures(sure & known).gender_accuracy,
        by=dict(of.groups()),
        missed=run.missed,
        unreadable=tuple(run.unreadable),
        left_out=len(pictures.left_out),
        ms_per_face=1e3 * run.seconds / len(run.measured),
        setup=dict(setup or {}),
        ages=(of.true_ages[of.true_ages != NO_ANSWER], years[of.true_ages != NO_ANSWER]),
    )


@dataclass(frozen=True, eq=False)
class _Faces:
    """Answers and labels of N faces."""

    years: FloatArray
    sd: FloatArray
    genders: FloatArray
    true_ages: Ints
    true_genders: Ints
    named: npt.NDArray[np.str_]

    def figures(self, chosen: npt.NDArray[np.bool_]) -> GroupFigures:
        """Of some of them."""
        dated, labelled = chosen & (self.true_ages != NO_ANSWER), chosen & (self.true_genders != NO_ANSWER)
        error = self.years[dated] - self.true_ages[dated]
        right = self.genders[labelled].argmax(axis=1) == self.true_genders[labelled]
        return GroupFigures(
            int(chosen.sum()),
            float(np.abs(error).mean()) if len(error) else None,
            float(error.mean()) if len(error) else None,
            float(right.mean()) if len(right) else None,
        )

    def within(self) -> tuple[float, float] | None:
        """Share of ages within one and two standard deviations."""
        dated = self.true_ages != NO_ANSWER
        if not dated.any():
            return None
        off = np.abs(self.years - self.true_ages)[dated] / np.maximum(self.sd[dated], 0.5)
        return float((off <= 1).mean()), float((off <= 2).mean())

    def groups(self) -> Iterator[tuple[str, dict[str, GroupFigures]]]:
        """The figures of every group that has members."""
        ages = {
            f"{first} to {last}" if last < BANDS[-1][1] else f"{first} and more": (self.true_ages >= first)
            & (self.true_ages <= last)
            for first, last in BANDS
        }
        genders = {gender: self.true_genders == k for k, gender in enumerate(GENDERS)}
        groups = {str(name): self.named == name for name in np.unique(self.named) if name}
        for kind, parts in (("age", ages), ("gender", genders), ("group", groups)):
            yield kind, {name: self.figures(chosen) for name, chosen in parts.items() if chosen.any()}


@dataclass(eq=False)
class _Outcome:
    measured: Ints
    ages: FloatArray
    genders: FloatArray
    missed: int
    unreadable: list[Unreadable]
    seconds: float


def _run(pictures: AttributeSet, network: AttributesNetwork, cut: Cut, progress: Progress | None) -> _Outcome:
    """One pass over the set; a thread reads and cuts the next pictures while the network runs."""

    def crop(i: int) -> ImageArray | Unreadable | None:
        try:
            return cut(pictures.read(i))
        except (ImageError, OSError) as error:
            return Unreadable(pictures.items[i], str(error))

    measured: list[int] = []
    ages, genders, unreadable = [], [], []
    missed, done, seconds = 0, 0, 0.0
    crops = enumerate(prefetched(range(len(pictures)), crop, ahead=2 * _BATCH))
    while part := list(islice(crops, _BATCH)):
        found = [(i, picture) for i, picture in part if isinstance(picture, np.ndarray)]
        missed += sum(picture is None for _, picture in part)
        unreadable += [picture for _, picture in part if isinstance(picture, Unreadable)]
        if found:
            began = time.perf_counter()
            answer = network(np.stack([picture for _, picture in found]))
            seconds += time.perf_counter() - began
            measured += [i for i, _ in found]
            ages.append(answer.ages)
            genders.append(answer.genders)
        done += len(part)
        if progress is not None:
            progress(done, len(pictures))
    none = np.zeros((0, 0), np.float32)
    return _Outcome(
        np.array(measured, np.int64),
        np.concatenate(ages) if ages else none,
        np.concatenate(genders) if genders else none,
        missed,
        unreadable,
        seconds,
    )


def rows(report: AttributesReport) -> list[tuple[str, ...]]:
    """(group, faces, age error, bias, gender accuracy) of all faces and of each group, for tables."""
    named: Sequence[tuple[str, GroupFigures]] = [
        ("all", report.overall),
        (f"{GROWN} and more", report.grown),
        *((f"{kind}: {name}", of) for kind, groups in report.by.items() for name, of in groups.items()),
    ]
    return [
        (
            name,
            f"{of.n:,}",
            "" if of.mae is None else f"{of.mae:.2f}",
            "" if of.bias is None else f"{of.bias:+.2f}",
            "" if of.gender_accuracy is None else f"{of.gender_accuracy:.2%}",
        )
        for name, of in named
    ]


COLUMNS = ("Faces", "Number", "Age error, years", "Bias, years", "Gender")
"""What `rows` gives."""
