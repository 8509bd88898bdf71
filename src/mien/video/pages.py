"""A summary of a video as one page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mien.errors import MienError
from mien.ops.atomic import write_whole
from mien.ops.files import printable
from mien.reports.pages import escaped, html_figures, html_list, html_page, html_pictures, html_table
from mien.video.events import Event
from mien.video.people import Person
from mien.video.plots import clock, duration, span_in_words, timeline_picture
from mien.video.summary import Summary, shown_labels

_MOST_EVENTS, _MOST_VISITS = 500, 50
_SHORT = 60.0  # seconds; times of shorter videos have tenths
_TITLE = "Who was there when"
_CAUTION = (
    "An expression is what a face shows in a picture, as a network judges it from few grey pixels. It is not what a"
    " person feels, thinks or means, and it differs between people, cameras and cultures. Where a head points says"
    " nothing certain about attention. Do not decide about people by these figures."
)


def write_page(summary: Summary, path: Path) -> None:
    """Write the page, whole or not at all; with the picture where matplotlib is installed.

    Args:
        summary: of the video.
        path: where to.

    Raises:
        MienError: it cannot be written.
    """
    try:
        pictures = {_TITLE: timeline_picture(summary)}
    except MienError:  # without matplotlib the tables say it
        pictures = {}
    write_whole(path, to_html(summary, pictures))


def to_html(summary: Summary, pictures: Mapping[str, bytes] | None = None) -> str:
    """The summary as a page that needs nothing else; names of people and files are escaped.

    Args:
        summary: of the video.
        pictures: PNG files by what they show; they are held in the page.
    """
    name = Path(summary.source.name).name or "Video"
    body = [
        f"<h1>{escaped(name)}</h1>",
        html_figures(_figures(summary)),
        f"<p>{escaped(_about(summary))}</p>",
        *html_pictures(pictures or {}, broad=True),
        f'<p class="note"><strong>What this can and cannot say.</strong> {escaped(_CAUTION)}</p>',
    ]
    if not summary.people:
        return html_page(name, [*body, "<p>Nobody was seen.</p>"])
    body += ["<h2>People</h2>", html_table(*_people(summary))]
    if shares := [person for person in summary.people if summary.shares(person)]:
        body += [
            "<h2>Share of time per expression</h2>",
            "<p>Of the time in which a face was seen.</p>",
            _shares(summary, shares),
        ]
    if summary.transitions.any():
        body += [
            "<h2>Transitions</h2>",
            "<p>How often what a row names was followed by what a column names.</p>",
            _transitions(summary),
        ]
    if attention := [person for person in summary.people if person.attention.to_dict()]:
        body += ["<h2>Towards the camera</h2>", *_attention(attention)]
    if crossed := summary.lines():
        rows = [(f"line {i}", ", ".join(f"{v:g}" for v in c["line"]), str(c["in"]), str(c["out"]))
                for i, c in enumerate(crossed, 1)]  # fmt: skip
        body += ["<h2>Lines crossed</h2>", html_table(("Line", "Ends in pixels", "In", "Out"), rows)]
    when = partial(clock, tenths=summary.source.seconds < _SHORT)
    presence = html_table(("Person", "From and to"), _presence(summary.people, when), text=True)
    body += ["<h2>Presence</h2>", presence]
    body += html_list("Events", _events(summary.events, when))
    return html_page(name, body)


def _figures(summary: Summary) -> dict[str, str]:
    how_many, what = summary.how_many.rsplit(" ", 1) if summary.people else ("0", "people")
    named = len({person.name for person in summary.people if person.name is not None})
    figures = {what: how_many, "of them named": str(named)}
    return figures | {"at once, at most": str(summary.most_at_once), "of video": duration(summary.source.seconds)}


def _about(summary: Summary) -> str:
    source = summary.source
    width, height = source.size
    looked = f"Looked at: {span_in_words(source)}, {source.moments:,} pictures of {width} x {height} pixels."
    counted = (
        f"{looked} People without a name are counted by their tracks: somebody who left and came back unrecognised"
        " counts again."
    )
    return f"{counted} {summary.doubt.capitalize()}." if summary.doubt else counted


def _people(summary: Summary) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    columns = ["Person", "Present", "Share of the video", "Visits", "Longest visit"]
    expressions = any(summary.shares(person) for person in summary.people)
    blinks = any(person.attention.open for person in summary.people)
    columns += ["Mostly", "Smiles", "Smiling"] if expressions else []
    columns += ["Blinks"] if blinks else []
    whole = summary.source.seconds
    rows = []
    for person in summary.people:
        longest = max(end - start for start, end in person.presence)
        share = f"{min(person.seconds / whole, 1):.0%}" if whole else "–"
        row = [person.label, duration(person.seconds), share, str(len(person.presence)), duration(longest)]
        if expressions:
            smiles = summary.smiles(person)
            row += [summary.main(person) or "–", str(len(smiles)), duration(sum(e.end - e.time for e in smiles))]
        if blinks:
            row.append(str(len(person.blinks)))
        rows.append(tuple(row))
    return columns, rows


def _shares(summary: Summary, people: Sequence[Person]) -> str:
    shares = [summary.shares(person) for person in people]
    labels = [label for label in shown_labels(summary.story.labels) if any(share[label] for share in shares)]
    rows = [
        (person.label, *(f"{share[label]:.1%}" if share[label] else "–" for label in labels))
        for person, share in zip(people, shares, strict=True)
    ]
    return html_table(("Person", *labels), rows)


def _transitions(summary: Summary) -> str:
    labels, counts = summary.story.labels, summary.transitions
    used = [i for i in range(len(labels)) if counts[i].any() or counts[:, i].any()]
    rows = [(labels[i], *(str(counts[i, j]) if counts[i, j] else "–" if i != j else "" for j in used)) for i in used]
    return html_table(("From, to", *(labels[j] for j in used)), rows)


def _attention(people: Sequence[Person]) -> list[str]:
    degrees = people[0].attention.degrees
    rows = []
    for person in people:
        told = person.attention.to_dict()
        facing, eyes = told.get("facing_camera"), told.get("eyes_open")
        row = [f"{facing['share']:.0%}" if facing else "–", duration(facing["of_seconds"]) if facing else "–"]
        rows.append((person.label, *row, f"{eyes['share']:.0%}" if eyes else "–"))
    words = (
        f"Share of the time seen in which the head was turned less than {degrees:g}° from the camera, sideways and up"
        " or down. Somebody who takes notes, listens with closed eyes, or looks at the board has a low share."
    )
    return [
        f"<p>{escaped(words)}</p>",
        html_table(("Person", "Towards the camera", "Of the time seen", "Eyes open"), rows),
    ]


def _presence(people: Sequence[Person], when: Callable[[float], str]) -> list[tuple[str, str]]:
    rows = []
    for person in people:
        visits = [f"{when(start)} to {when(end)}" for start, end in person.presence[:_MOST_VISITS]]
        more = len(person.presence) - len(visits)
        rows.append((person.label, ", ".join([*visits, f"and {more:,} more"] if more else visits)))
    return rows


def _events(events: Sequence[Event], when: Callable[[float], str]) -> list[str]:
    """In words, without blinks: they are counted."""
    told = [event for event in events if event.kind != "blink"]
    lines = [f"{when(event.time)}  {_words(event)}" for event in told[:_MOST_EVENTS]]
    return [*lines, f"and {len(told) - _MOST_EVENTS:,} more"] if len(told) > _MOST_EVENTS else lines


def _words(event: Event) -> str:
    who = printable(event.person)
    if event.kind == "expression":
        return f"{who}: {event.label}, {event.end - event.time:.1f} s"
    return f"{who} crosses line {event.line}: {event.label}" if event.kind == "crosses" else f"{who} {event.kind}"
