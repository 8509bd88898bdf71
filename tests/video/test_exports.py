"""Timelines as files, and back."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mien.errors import DataError, MienError
from mien.video.columns import COLUMNS, UNCERTAIN, Rows
from mien.video.counting import Line
from mien.video.exports import FORMATS, READABLE, safe_cell
from mien.video.subtitles import vtt_time
from mien.video.timeline import Timeline
from tests.video.made_up import LABELS, scene

NASTY = {
    1: '=HYPERLINK("http://example.org","x")',
    2: "<b>Bo</b> & --> co",
    3: "'quoted",
    4: "王小明",
    5: 'comma, "quote"\nnewline',
    6: "-1+1",
    7: "\u2028line",
}


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    acts = {n: [(0, 2, "neutral"), (2, 5, "happiness")] for n in range(1, 9)}
    moments = scene(
        acts,
        seconds=6,
        names=NASTY,
        eyes_closed=[(1, 1, 1.2)],
        turned=[(2, 1, 3)],
        hidden=[(3, 1, 2)],
        unclear=[(8, 0, 9), (7, 0, 9), (6, 0, 2)],
    )
    late = (replace(moment, came_back=((8, 1),) if moment.time == 3.0 else ()) for moment in moments)
    return Timeline.of(late, name="scene.mp4", lines=[Line((0, 50), (100, 50), percent=True)])


@pytest.fixture(scope="module")
def bare() -> Timeline:
    """One face of which nothing else is known."""
    rows = Rows.of((), 1, time=[0.5], frame=[3], track=[2], seen=[True], boxes=[[1, 2, 30, 40]], scores=[0.75])
    return Timeline(rows)


def assert_same(one: Timeline, other: Timeline) -> None:
    assert one.rows.labels == other.rows.labels
    for name in COLUMNS:
        a, b = getattr(one.rows, name), getattr(other.rows, name)
        assert a.shape == b.shape, name
        np.testing.assert_allclose(a.astype(float), b.astype(float), atol=6e-3, equal_nan=True, err_msg=name)
    assert dict(one.names) == dict(other.names)


@pytest.mark.parametrize("suffix", READABLE)
def test_who_comes_as_another_leaves_is_not_there_with_them_after_rounding(suffix, tmp_path):
    seconds = 1 / 30  # no whole number of microseconds
    acts = {i + 1: [(i * 31 * seconds, (i + 1) * 31 * seconds, "neutral")] for i in range(6)}
    timeline = Timeline.of(scene(acts, seconds=186 * seconds, fps=30))
    timeline.save(tmp_path / f"t{suffix}")
    assert Timeline.load(tmp_path / f"t{suffix}").summary.most_at_once == timeline.summary.most_at_once == 1


@pytest.mark.parametrize("suffix", READABLE)
def test_what_is_written_is_read(timeline, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    timeline.save(path)
    again = Timeline.load(path)
    assert_same(timeline, again)
    if suffix != ".csv":
        assert [p.label for p in again.people] == [p.label for p in timeline.people]
    assert len(again.events) == pytest.approx(len(timeline.events), abs=8 if suffix == ".csv" else 0)
    if suffix != ".csv":
        assert (again.source, again.rules, again.same) == (timeline.source, timeline.rules, {8: 1})
        assert again.unclear == timeline.unclear == {7, 8}
        assert [e.to_dict()["event"] for e in again.events] == [e.to_dict()["event"] for e in timeline.events]


@pytest.mark.parametrize("suffix", READABLE)
def test_nothing_is_written_and_read(suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    for empty in (Timeline.of([]), Timeline.of(scene({}, seconds=2))):
        empty.save(path)
        again = Timeline.load(path)
        assert len(again) == 0
        assert again.people == []


@pytest.mark.parametrize("suffix", READABLE)
def test_what_is_not_known_is_absent(bare, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    bare.save(path)
    assert_same(bare, Timeline.load(path))
    if suffix == ".csv":
        assert path.read_text().splitlines()[0] == "time,seconds,frame,scene,track,person,seen,x1,y1,x2,y2,score"
    if suffix == ".jsonl":
        (face,) = json.loads(path.read_text().splitlines()[1])["faces"]
        assert face == {"track": 2, "box": [1, 2, 30, 40], "score": 0.75}


def test_no_cell_is_a_formula(timeline, tmp_path):
    path = tmp_path / "t.csv"
    timeline.save(path)
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))
    cells = [cell for row in rows for cell in row]
    signed = re.compile(r"[+-]?[\d.]+(e-?\d+)?\Z")
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and not signed.match(cell)]
    assert "'" + NASTY[1] in cells
    assert len({len(row) for row in rows}) == 1
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # names that are not ASCII: spreadsheets need to be told


def test_ascii_needs_no_mark(bare, tmp_path):
    bare.save(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes().startswith(b"time,")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "'x", "''=x"])
def test_formulas_are_text(text):
    assert safe_cell(text) == "'" + text


def test_subtitles(timeline, tmp_path):
    path = tmp_path / "t.vtt"
    timeline.save(path)
    text = path.read_text("utf-8")
    head, *cues = text.split("\n\n")
    assert head == "WEBVTT"
    times = re.compile(r"(\d\d:\d\d:\d\d\.\d{3}) --> (\d\d:\d\d:\d\d\.\d{3})\Z")
    starts = []
    for cue in cues:
        timing, *lines = cue.strip("\n").split("\n")
        assert times.match(timing)
        start, end = times.match(timing).groups()
        assert start < end
        starts.append(start)
        assert len(lines) == 1
        assert "<" not in lines[0]
        assert "-->" not in lines[0]
    assert starts == sorted(starts)
    assert "&lt;b&gt;Bo&lt;/b&gt; &amp; --&gt; co: happiness" in text
    assert "王小明: neutral" in text


def test_no_bare_name_flashes_up_beside_a_subtitle(tmp_path):
    parts = [
        (0.0, 0.1, UNCERTAIN),
        (0.1, 2.0, 1),
        (2.0, 2.4, UNCERTAIN),
        (2.4, 4.0, 0),
        (4.0, 4.1, UNCERTAIN),
        (6.0, 6.1, UNCERTAIN),
    ]
    rows = Rows.of(
        LABELS,
        len(parts),
        time=[start for start, _, _ in parts],
        seconds=[end - start for start, end, _ in parts],
        frame=range(len(parts)),
        track=[1] * len(parts),
        seen=[True] * len(parts),
        boxes=[[1, 2, 30, 40]] * len(parts),
        scores=[0.9] * len(parts),
        state=[state for _, _, state in parts],
    )
    Timeline(rows).save(tmp_path / "t.vtt")
    cues = (tmp_path / "t.vtt").read_text("utf-8").split("\n\n")[1:]
    assert [(cue[:12], cue.strip().split("\n")[1]) for cue in cues] == [
        ("00:00:00.100", "person 1: happiness"),
        ("00:00:02.000", "person 1"),
        ("00:00:02.400", "person 1: neutral"),
        ("00:00:06.000", "person 1"),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00.000"), (61.0015, "00:01:01.002"), (3599.9999, "01:00:00.000"), (360000, "100:00:00.000")],
)
def test_subtitle_times(seconds, text):
    assert vtt_time(seconds) == text


def test_json_lines_are_lines(timeline, tmp_path):
    path = tmp_path / "t.jsonl"
    timeline.save(path)
    lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    assert len(path.read_text("utf-8").splitlines()) == len(lines)  # also for those who split at U+2028
    assert lines[0]["schema"] == 1
    assert {"time", "seconds", "frame", "scene", "faces"} == set(lines[1])
    assert lines[-1]["event"]
    assert lines[1]["faces"][0]["expression"]["label"] in (*LABELS, "uncertain")


@pytest.mark.parametrize("suffix", READABLE)
def test_files_cut_short_are_refused_or_whole(timeline, suffix, tmp_path):
    path = tmp_path / f"t{suffix}"
    timeline.save(path)
    data = path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for part in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 7):
        cut.write_bytes(data[:part])
        if suffix == ".csv" and data[:part].endswith(b"\n"):  # a whole table, only shorter
            assert len(Timeline.load(cut)) < len(timeline)
            continue
        with pytest.raises(DataError, match=re.escape(str(cut))):
            Timeline.load(cut)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.parquet", b"PAR1 nothing PAR1"),
        ("t.csv", b"a,b\n1,2\n"),
        ("t.csv", b"time,seconds,frame,track,person,seen,x1,y1,x2,y2,score\n1,1,1,1,,x,1,1,1,1,1\n"),
        ("t.csv", b"time,seconds,frame,track,person,seen,x1,y1,x2,y2,score\n1,1\n"),
        ("t.csv", b"time,seconds,frame,track,person,seen,x1,y1,x2,y2,score\nnan,1,1,1,,1,1,1,1,1,1\n"),
        ("t.csv", b"\xff\xfe\x00"),
        ("t.jsonl", b"[]\n"),
        ("t.jsonl", b'{"labels": []}\n'),
        ("t.jsonl", b'{"labels": []}\n{"faces": 3}\n'),
        ("t.jsonl", b"[" * 100_000 + b"\n"),
        ("t.vtt", b"WEBVTT\n"),
        ("t.txt", b""),
    ],
)
def test_what_is_no_timeline_is_refused(name, data, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        Timeline.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_parquet_of_others_is_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"time": [1.0]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="not written by mien"):
        Timeline.load(tmp_path / "t.parquet")


def test_parquet_has_types(timeline, tmp_path):
    from pyarrow import parquet

    timeline.save(tmp_path / "t.parquet")
    schema = parquet.read_schema(tmp_path / "t.parquet")
    assert str(schema.field("time").type) == "double"
    assert "string" in str(schema.field("person").type)
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table["quality"].null_count == len(timeline) if "quality" in table.column_names else True
    assert table["yaw"].null_count == int(np.isnan(timeline.rows.pose[:, 0]).sum())


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        Timeline.load(tmp_path / "none.csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_cannot_be_written_leaves_nothing(timeline, suffix, tmp_path):
    with pytest.raises(MienError, match="cannot be written"):
        timeline.save(tmp_path / "no folder" / f"t{suffix}")
    (tmp_path / f"taken{suffix}").mkdir()
    with pytest.raises(MienError, match="cannot be written"):
        timeline.save(tmp_path / f"taken{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [f"taken{suffix}"]


def test_unknown_formats(timeline, tmp_path):
    with pytest.raises(MienError, match=r"use \.parquet"):
        timeline.save(tmp_path / "t.xlsx")
