"""Model cards: what a record says, in words. MODELS.md is made from this; a test fails when it is stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def card(record: Record) -> str:
    """One model's card, in Markdown."""
    facts = "\n".join(f"| {name} | {value} |" for name, value in _facts(record))
    return f"## {record.name}\n\n{record.summary[0].upper()}{record.summary[1:]}.\n\n| | |\n|---|---|\n{facts}\n"


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
    if record.threshold is not None:
        yield "score threshold", f"{record.threshold:g}"
    for mode, calibration in record.calibrations.items():
        rates = ", ".join(f"{value:.4f} at FMR {rate}" for rate, value in calibration.thresholds.items())
        slope, intercept = calibration.logistic
        yield (
            f"thresholds, {mode}",
            f"{rates}; P(same) = 1 / (1 + exp(-({slope:.3f} s {intercept:+.3f}))); set on {calibration.source}",
        )
    yield from record.metrics.items()
    yield "limits", record.limits


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
