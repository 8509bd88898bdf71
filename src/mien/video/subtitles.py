"""A timeline as WebVTT subtitles: who is seen, and what they show."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TextIO

from mien.ops.files import printable
from mien.video.columns import UNCERTAIN
from mien.video.people import Person
from mien.video.story import Band, name_of, steady
from mien.video.summary import Summary

LEAST = 0.5
"""Seconds; what is shown for less does not interrupt a subtitle."""
_GLANCE = 0.2  # seconds; nobody can read what is there for less


def write_vtt(file: TextIO, summary: Summary) -> None:
    """Write a cue for each person and each thing that they show, in order of time.

    Args:
        file: to write into.
        summary: of the video.
    """
    file.write("WEBVTT\n")
    cues = sorted((cue for person in summary.people for cue in _cues(person, summary)), key=lambda cue: cue[:2])
    for start, end, text in cues:
        file.write(f"\n{vtt_time(start)} --> {vtt_time(end)}\n{text}\n")


def _cues(person: Person, summary: Summary) -> Iterator[tuple[float, float, str]]:
    for track in person.tracks:
        bands = steady(track.bands, LEAST)
        for before, band, after in zip([None, *bands], bands, [*bands[1:], None], strict=False):
            beside = (before is not None and before.end == band.start) or (
                after is not None and after.start == band.end
            )
            if beside and band.state == UNCERTAIN and band.end - band.start < _GLANCE:
                continue
            start, end = band.start, max(band.end, band.start + 0.001)
            if vtt_time(start) != vtt_time(end):  # a cue ends after it begins
                yield start, end, _text(person, band, summary)


def _text(person: Person, band: Band, summary: Summary) -> str:
    """Names and expressions as WebVTT shows them: < and & are escaped, and with > also the arrow of a cue."""
    name = name_of(band.state, summary.story.labels)
    said = person.label if name is None or band.state == UNCERTAIN else f"{person.label}: {name}"
    return html.escape(printable(said), quote=False)


def vtt_time(seconds: float) -> str:
    """As WebVTT writes it: 01:02:03.456."""
    milliseconds = max(round(seconds * 1000), 0)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
