"""Model cards: what a record says, in words. MODELS.md is made from this; a test fails when it is stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mien.models.base import BundledSource, FileSource, PackageSource, Record, Source, UrlSource

_HEADER = """# Models

Made from the records in `src/mien/models` by `make models-page`; do not edit. `mien models info NAME` shows the same
facts.

Weights are fetched when they are first needed, checked against their SHA-256 before anything reads them, and kept in
the user's cache. None of them is part of this repository unless it says "bundled".

**What no model here may be used for:** identifying people without their consent, covert or mass surveillance, or as
the only ground of a decision about a person. Errors differ between people and groups; measure them on your own.
"""


def to_markdown(records: Iterable[Record]) -> str:
    """The whole page."""
    return "\n".join([_HEADER, *(card(record) for record in records)])


def summary(record: Record, *, default: bool, cached: bool) -> dict[str, Any]:
    """One model in a few words, JSON-ready.

    Args:
        record: of it.
        default: whether it is used when nobody asks for another.
        cached: whether its weights are on this machine.
    """
    return {
        "name": record.name,
        "task": record.task,
        "bytes": record.weights.size,
        "licence_weights": record.licence_weights,
        "commercial_use": record.commercial_use,
        "default": default,
        "cached": cached,
        "summary": record.summary,
    }


def card(record: Record) -> str:
    """One model's card, in Markdown."""
    facts = "\n".join(f"| {name} | {value} |" for name, value in _facts(record))
    tables = "".join(f"\n{_class_table(name, rows)}" for name, rows in record.metrics_by_class.items() if rows)
    summary = f"{record.summary[0].upper()}{record.summary[1:]}."
    return f"## {record.name}\n\n{summary}\n\n| | |\n|---|---|\n{facts}\n{tables}"


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    weights = record.weights
    yield "task", record.task
    yield "licence", f"code {record.licence_code}; weights {record.licence_weights}"
    yield "commercial use", "yes" if record.commercial_use else "**no**"
    yield "origin", record.origin
    yield "training data", record.training_data
    yield (
        "weights",
        f"`{weights.filename}`, {weights.size:,} bytes, {'; '.join(map(describe, weights.sources))}",
    )
    yield "SHA-256", f"`{weights.sha256}`"
    if record.input_notes:
        yield "input", record.input_notes
    if record.crop:
        points = ", ".join(f"({x:g}, {y:g})" for x, y in record.crop.template)
        yield "crop", f"{record.crop.size} x {record.crop.size}; landmarks at {points}"
    if record.metric:
        yield "metric", {"cosine": "cosine", "l2": "plain Euclidean distance"}[record.metric]
    if record.dimensions:
        yield "dimensions", str(record.dimensions)
    if record.architecture:
        yield "architecture", record.architecture
    yield from ((f"started from {name}", f"SHA-256 `{sha256}`") for name, sha256 in record.parents.items())
    if record.labels:
        yield "labels", ", ".join(record.labels)
        yield from _confidence(record)
    elif record.threshold is not None:
        what = "gender uncertain below" if record.task == "attributes" else "score threshold"
        yield what, f"{record.threshold:g}"
    for mode, calibration in record.calibrations.items():
        rates = ", ".join(f"{value:.4f} at FMR {rate}" for rate, value in calibration.thresholds.items())
        slope, intercept = calibration.logistic
        yield (
            f"thresholds, {mode}",
            f"{rates}; P(same) = 1 / (1 + exp(-({slope:.3f} s {intercept:+.3f}))); set on {calibration.source}",
        )
    yield from record.metrics.items()
    yield "limits", record.limits


def _confidence(record: Record) -> Iterator[tuple[str, str]]:
    """What a classifier's confidence means, and when it says "uncertain"."""
    on = f"; set on {record.calibrated_on}" if record.calibrated_on else ""
    if record.temperature is not None:
        yield (
            "confidence",
            f"the largest of the softmax of logits / {record.temperature:.4g}: of answers with confidence p, a part p"
            f" should be right on data like those it was set on{on}",
        )
    if record.threshold:
        yield "answers `uncertain`", f"where the confidence is under {record.threshold:.4g}{on}"


def _class_table(name: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """The figures of each class, in Markdown."""
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    lines = [f"| {name} | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for label, row in rows.items():
        lines.append(f"| {label} | " + " | ".join(_figure(row.get(metric)) for metric in columns) + " |")
    return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    """Counts as they are, shares with three decimals."""
    if value is None:
        return ""
    return f"{value:,d}" if isinstance(value, int) else f"{value:.3f}"


def describe(source: Source) -> str:
    """Where weights come from, in words."""
    match source:
        case PackageSource():
            return f"from the package `{source.requirement}` ({source.archive_bytes / 1e6:.0f} MB)"
        case UrlSource():
            return f"from <{source.url}>"
        case FileSource():
            return f"from the file `{source.path}`"
        case BundledSource():
            return "bundled with mien"
