"""Plots, pages and annotated videos."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.video import plots
from mien.video.columns import UNCERTAIN, Rows
from mien.video.counting import Line
from mien.video.pages import to_html, write_page
from mien.video.plots import clock, colour_of, duration, plot_timeline, span_in_words
from mien.video.render import Writer, annotated, render
from mien.video.story import name_of
from mien.video.summary import Source
from mien.video.timeline import Timeline
from tests.video.made_up import LABELS, SIZE, scene

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    acts = {
        1: [(0, 4, "neutral"), (4, 8, "happiness")],
        2: [(0, 8, "surprise")],
        3: [(2, 5, "neutral")],
        4: [(1, 8, "neutral")],
    }
    names = {1: "<script>alert(1)</script>", 2: "王小明", 4: "$x^2$"}
    places = {n: ((100 * n, 40), (100 * n, 320)) for n in acts}
    moments = scene(acts, seconds=8, names=names, places=places, eyes_closed=[(1, 2, 2.2)], turned=[(2, 1, 3)])
    return Timeline.of(moments, lines=[Line((0, 50), (100, 50), percent=True)], name="<b>.mp4")


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def share_of(colour: str, image: np.ndarray) -> float:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(image - wanted).max(axis=2) < 6).mean())


def test_a_plot_has_the_colours_of_what_was_shown(timeline, tmp_path):
    plot_timeline(timeline.summary, tmp_path / "t.png")
    image = pixels(tmp_path / "t.png")
    for label in ("neutral", "happiness", "surprise"):
        assert share_of(colour_of(label, LABELS), image) > 0.01, label
    for label in ("anger", "fear"):
        assert share_of(colour_of(label, LABELS), image) < 0.001, label


def test_a_row_is_filled_by_shares(tmp_path):
    """Two seconds of every four: the picture of hours is half of that colour, though no smile is a pixel wide."""
    n = 4 * 3600
    rows = Rows.of(
        LABELS,
        n,
        time=np.arange(n),
        seconds=np.ones(n),
        frame=np.arange(n),
        track=np.ones(n),
        seen=np.ones(n),
        boxes=np.zeros((n, 4)),
        scores=np.ones(n),
        state=np.arange(n) // 2 % 2,
    )
    hours = Timeline(rows, source=Source("", SIZE, 0, n, n))
    plot_timeline(hours.summary, tmp_path / "t.png")
    image = pixels(tmp_path / "t.png")
    smiles, neutral = (share_of(colour_of(label, LABELS), image) for label in ("happiness", "neutral"))
    assert smiles > 0.05
    assert smiles / neutral == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("name", "acts"), [("t.png", {}), ("t.svg", {1: [(0, 1, "happiness")]}), ("t.pdf", None)])
def test_plots_of_nobody_and_of_one_moment(name, acts, tmp_path):
    what = Timeline.of([] if acts is None else scene(acts, fps=1, seconds=1))
    plot_timeline(what.summary, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


def test_plots_of_a_crowd_name_those_who_stayed(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "_MOST", 4)
    acts = {n: [(0, 3 + (n % 7), "neutral")] for n in range(1, 8)}
    everybody = Timeline.of(scene(acts, fps=2)).people
    assert [person.label for person in plots._most_present(everybody)] == [f"person {n}" for n in (3, 4, 5, 6)]
    plot_timeline(Timeline.of(scene(acts, fps=2)).summary, tmp_path / "t.png")


def test_plots_of_a_part(timeline, tmp_path):
    plot_timeline(timeline.select(start=3, end=5).summary, tmp_path / "t.png")
    plot_timeline(replace(timeline, source=Timeline.of([]).source).summary, tmp_path / "u.png")


def test_a_plot_that_cannot_be_written(timeline, tmp_path):
    with pytest.raises(MienError, match="not a format for plots"):
        plot_timeline(timeline.summary, tmp_path / "t.doc")
    with pytest.raises(MienError, match="cannot be written"):
        plot_timeline(timeline.summary, tmp_path / "none" / "t.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "short", "long"), [(4.24, "0:04", "4.2 s"), (65, "1:05", "1:05"), (3661, "1:01:01", "1:01:01")]
)
def test_times_for_people(seconds, short, long):
    assert clock(seconds) == short
    assert duration(seconds) == long


def test_tenths_where_seconds_are_too_coarse():
    assert [clock(seconds, tenths=True) for seconds in (0, 4.24, 59.96, 65.5)] == [
        "0:00.0",
        "0:04.2",
        "1:00.0",
        "1:05.5",
    ]


def test_what_is_uncertain_is_striped_and_not_grey(tmp_path):
    neutral = Timeline.of(scene({1: [(0, 8, "neutral")]}, seconds=8))
    rows = replace(neutral.rows, state=np.full(len(neutral.rows), UNCERTAIN))
    for name, timeline in (("neutral", neutral), ("uncertain", replace(neutral, rows=rows))):
        plot_timeline(timeline.summary, tmp_path / f"{name}.png")
        image = pixels(tmp_path / f"{name}.png")
        assert (share_of(colour_of("neutral", LABELS), image) > 0.1) == (name == "neutral")
        assert (share_of(plots._STRIPE, image) > 0.02) == (name == "uncertain")


def test_expressions_are_told_apart_by_colour_blind_readers():
    """By deuteranopes and protanopes (Vienot et al. 1999); distances of CIE 1976, of which 1 can just be told."""
    labels = [*LABELS, "uncertain"]
    rgb = np.array([[int(colour_of(label, LABELS)[i : i + 2], 16) for i in (1, 3, 5)] for label in labels]) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    for seen in (linear, linear @ deutan.T, linear @ protan.T):
        lab = to_lab(seen.clip(0, 1))
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)[~np.eye(len(labels), dtype=bool)]
        assert apart.min() > 15


def to_lab(linear: np.ndarray) -> np.ndarray:
    """(N, 3) linear sRGB to CIE L*a*b*."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt((linear @ matrix.T) / matrix.sum(axis=1)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_blinks_are_seen_beside_all_rows(tmp_path):
    """Under the bands, not on or behind them: each adds ink."""
    acts = {n: [(0, 9, "neutral")] for n in (1, 2)}
    ink = {}
    for blinks in (1, 9):
        shut = [(n, i, i + 0.2) for n in acts for i in range(blinks)]
        plot_timeline(Timeline.of(scene(acts, eyes_closed=shut)).summary, tmp_path / "t.png")
        ink[blinks] = share_of("#1b1f24", pixels(tmp_path / "t.png")) * pixels(tmp_path / "t.png").size / 3
    assert ink[9] - ink[1] > 16 * 12  # 8 more for each of two people, of 12 pixels at least


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (0.0, 9.2, "9.2 s"),
        (0.844, 10.02, "0:00.8 to 0:10.0 (9.2 s)"),
        (600, 725, "10:00 to 12:05 (2:05)"),
        (0.0, 4000, "1:06:40"),
        (3500, 4000, "0:58:20 to 1:06:40 (8:20)"),
    ],
)
def test_what_was_looked_at_in_words(start, end, words):
    assert span_in_words(Source("", SIZE, start, end, 1)) == words


def test_colours_are_fixed_and_other_labels_get_some():
    assert len({colour_of(label, LABELS) for label in (*LABELS, "uncertain")}) == 9
    assert colour_of("bored", ("bored", "keen")) != colour_of("keen", ("bored", "keen"))


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_a_page_holds_all_and_runs_nothing(timeline, tmp_path):
    write_page(timeline.summary, tmp_path / "t.html")
    text = (tmp_path / "t.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert all(link.startswith("data:image/png") for link in page.links)
    assert page.links
    for words in ("<script>alert(1)</script>", "王小明", "$x^2$", "person 3", "is not what a person feels"):
        assert words in re.sub(r"\s+", " ", page.text), words
    for heading in ("People", "Share of time per expression", "Transitions", "Towards the camera", "Lines crossed"):
        assert f"<h2>{heading}</h2>" in text
    assert re.search(r"\b0:0\d\.\d to 0:", text)  # in a short video seconds are too coarse


def test_the_page_of_nobody():
    text = to_html(Timeline.of([]).summary)
    assert "Nobody was seen" in text
    assert Page(text).tags.count("table") == 0


def frames_of(timeline: Timeline, *, fps: float = 10.0, seconds: float = 8.0):
    class Frame:
        def __init__(self, time: float) -> None:
            self.time = time
            self.image = np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)

    return [Frame(i / fps) for i in range(round(fps * seconds))]


def test_annotations_are_where_people_are(timeline):
    first = timeline.rows[timeline.rows.time == 0]
    image = np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)
    drawn = annotated(image, first, timeline.names)
    changed = np.argwhere((drawn != image).any(axis=2))
    assert changed[:, 0].max() < 120  # all are at the top then
    assert len(changed) > 500
    assert annotated(image, first[:0], {}) is image
    assert (image == 90).all()


def edge_of(track: int, rows: Rows) -> str:
    """The colour of a face's box."""
    drawn = annotated(np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8), rows, {})
    x, y = 100 * track + 12, 20  # on the upper edge, right of the middle
    return "#{:02X}{:02X}{:02X}".format(*drawn[y, x])


def test_colours_of_boxes_are_those_of_the_plot(timeline):
    shown = timeline.rows[timeline.rows.time == 7.5]
    assert [name_of(state, LABELS) for state in shown.state] == ["happiness", "surprise", "neutral"]
    low = replace(shown, boxes=shown.boxes - shown.boxes[:, 1:2] * [0, 1, 0, 1] + [0, 20, 0, 20])
    for track, label in ((1, "happiness"), (2, "surprise"), (4, "neutral")):
        assert edge_of(track, low) == colour_of(label, LABELS)


def test_where_no_expression_is_known_colours_belong_to_tracks(timeline):
    first = timeline.rows[timeline.rows.time == 0]
    bare = Rows.of(
        (), 2, **{name: getattr(first, name) for name in ("time", "frame", "track", "seen", "scores", "boxes")}
    )
    assert edge_of(1, bare) != edge_of(2, bare) == edge_of(2, bare[1])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_video_keeps_its_times(timeline, suffix, tmp_path):
    frames = [frame for frame in frames_of(timeline) if not 2 < frame.time < 3]  # an uneven pace
    path = tmp_path / f"t{suffix}"
    told = []
    render(path, frames, [timeline.rows], timeline.names, timeline.source, progress=lambda *seen: told.append(seen))
    with av.open(path) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, [frame.time for frame in frames], atol=2e-3)
    assert told[-1][0] == pytest.approx(7.9)


def test_blocks_make_no_difference_to_a_video(timeline, tmp_path):
    from mien.video.render import _Moments

    whole, parts = _Moments([timeline.rows]), _Moments(timeline.rows[i : i + 3] for i in range(0, len(timeline), 3))
    for k in range(90):
        a, b = whole.at(k / 10), parts.at(k / 10)
        assert len(a) >= len(b)  # a moment can be cut by a block, of a run it is not
        assert not len(a) or a.time[0] == pytest.approx(k / 10)
    assert len(whole.at(60.0)) == 0


def test_sound_is_copied(tmp_path, timeline):
    source = with_sound(tmp_path / "sound.mp4")
    render(tmp_path / "t.mp4", frames_of(timeline), [timeline.rows], {}, timeline.source, sound=source)
    with av.open(source) as a, av.open(tmp_path / "t.mp4") as b:
        packets = [[bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (a, b)]
        spans = [float(c.streams.audio[0].duration * c.streams.audio[0].time_base) for c in (a, b)]
    kept = len(packets[1])
    assert packets[0][-kept:] == packets[1]  # less what the encoder put before the beginning
    assert len(packets[0]) - kept <= 1
    assert spans[0] == pytest.approx(spans[1], abs=0.05)


def with_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for i in range(0, 44100 * 2, 1024):
            wave = np.sin((np.arange(1024) + i) * 0.06).astype(np.float32)[None].repeat(2, axis=0)
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_sound_that_is_none_is_left_out(tmp_path, timeline):
    (tmp_path / "text.mp4").write_text("nothing")
    for what in (tmp_path / "text.mp4", tmp_path / "none.mp4"):
        render(tmp_path / "t.mp4", frames_of(timeline), [], {}, timeline.source, sound=what)
        with av.open(tmp_path / "t.mp4") as container:
            assert not container.streams.audio


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (101, 57)])
def test_odd_sizes(size, tmp_path):
    with Writer(tmp_path / "t.mp4") as writer:
        for i in range(3):
            writer(i / 10, np.full((*size, 3), 50 * i, dtype=np.uint8))
        writer(0.4, np.zeros((40, 60, 3), dtype=np.uint8))  # the size changes
    with av.open(tmp_path / "t.mp4") as container:
        shapes = {frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)}
    assert len(shapes) == 1


def test_a_video_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "t.mp4"
    path.write_text("earlier")
    with pytest.raises(RuntimeError, match="stop"), Writer(path) as writer:  # noqa: PT012
        writer(0.0, np.zeros((32, 32, 3), dtype=np.uint8))
        raise RuntimeError("stop")
    with pytest.raises(MienError, match="no picture"), Writer(path):
        pass
    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["t.mp4"]
    with pytest.raises(MienError, match=r"use \.mp4"):
        Writer(tmp_path / "t.gif")
    with pytest.raises(MienError, match="cannot be written"), Writer(tmp_path / "none" / "t.mp4") as writer:
        writer(0.0, np.zeros((32, 32, 3), dtype=np.uint8))


def test_times_that_stand_still_still_rise(tmp_path):
    with Writer(tmp_path / "t.mp4") as writer:
        for time in (0.0, 0.1, 0.1, 0.1000001):
            writer(time, np.zeros((32, 32, 3), dtype=np.uint8))
    with av.open(tmp_path / "t.mp4") as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert all(b > a for a, b in pairwise(times))
