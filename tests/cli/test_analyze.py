"""`mien analyze`, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mien import load_image


def faces_of(done) -> list[dict]:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["faces"]


def test_one_photograph_as_json(mien, portrait):
    done = mien("analyze", portrait, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["schema"] == 1
    assert answer["image"] == {"path": str(portrait), "width": 512, "height": 600}
    (face,) = answer["faces"]
    assert set(face) - {"expression"} == {"box", "score", "landmarks", "quality", "pose"}
    assert face["quality"]["usable"] is True
    assert face["quality"]["advice"] == []
    assert set(face["pose"]) == {"yaw", "pitch", "roll"}
    x1, y1, x2, y2 = face["box"]
    left, right, nose, mouth_left, mouth_right = face["landmarks"]
    assert 150 < x1 < left[0] < nose[0] < right[0] < x2 < 400
    assert 50 < y1 < left[1] < nose[1] < mouth_left[1] < y2 < 350
    assert mouth_left[0] < mouth_right[0]


def test_embeddings_are_there_when_asked_for(mien, portrait):
    (face,) = faces_of(mien("analyze", portrait, "--json", "--embeddings"))
    assert len(face["embedding"]) == 128
    assert 1.0 < np.linalg.norm(face["embedding"]) < 2.0


def test_expressions_by_a_network_of_the_users_own(mien, portrait, tiny_expressions):
    (face,) = faces_of(mien("analyze", portrait, "--json", "--expression-model", tiny_expressions))
    assert set(face) == {"box", "score", "landmarks", "expression", "quality", "pose"}
    answer = face["expression"]
    assert answer["label"] in ("happiness", "uncertain")
    assert list(answer["scores"])[:2] == ["neutral", "happiness"]
    assert answer["confidence"] == max(answer["scores"].values())
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-3)
    (other,) = faces_of(
        mien("analyze", portrait, "--json", "--only", "expression,embed", "--expression-model", tiny_expressions)
    )
    assert other["expression"] == answer
    assert len(other["embedding"]) == 128
    (plain,) = faces_of(mien("analyze", portrait, "--json", "--only", "detect"))
    assert set(plain) == {"box", "score", "landmarks"}


def test_expressions_in_the_table_and_on_saved_pictures(mien, portrait, tmp_path):
    from tests.models.tiny_classifier import card, network

    words = {}
    for threshold in (0.0, 1.0):
        path = tmp_path / "own.onnx"
        path.write_bytes(network(card(threshold=threshold)))
        out = tmp_path / f"out{threshold:.0f}"
        done = mien("analyze", portrait, "--expression-model", path, "--save", out, COLUMNS="80")
        assert done.returncode == 0, done.stderr
        words[threshold] = done.stdout.decode()
        assert (out / portrait.name).is_file()
    assert re.search(r" expression +quality *\n", words[0.0])
    assert re.search(r" happiness 0\.\d\d +0\.\d\d *\n", words[0.0])
    assert re.search(r" uncertain \(happiness 0\.\d\d\) +0\.\d\d *\n", words[1.0])
    one, other = (load_image(tmp_path / f"out{i}" / portrait.name) for i in (0, 1))
    assert (one != other).any()  # the labels differ


def test_a_folder_with_expressions(mien, portrait, astronaut, tmp_path, tiny_expressions):
    for i in range(3):
        shutil.copy(portrait, tmp_path / f"{i}.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    done = mien("analyze", tmp_path, "--json", "--expression-model", f"expression:{tiny_expressions}", "--threads", 2)
    assert done.returncode == 2
    answers = [json.loads(line)["faces"][0]["expression"] for line in done.stdout.splitlines()]
    assert len(answers) == 3
    assert answers[0] == answers[1] == answers[2]


def test_many_pictures_give_one_object_a_line_in_order(mien, portrait, astronaut):
    done = mien("analyze", portrait, astronaut, portrait, "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["image"]["path"] for a in answers] == [str(portrait), str(astronaut), str(portrait)]
    assert answers[0]["faces"] == answers[2]["faces"]
    assert [len(a["faces"]) for a in answers] == [1, 1, 1]


def test_standard_input(mien, portrait):
    from_file = faces_of(mien("analyze", portrait, "--json"))
    from_stdin = faces_of(mien("analyze", "-", "--json", stdin=portrait.read_bytes()))
    assert from_stdin == from_file


def test_a_bad_file_never_stops_the_others(mien, portrait, astronaut, tmp_path):
    (tmp_path / "a.jpg").write_bytes(portrait.read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    (tmp_path / "c.jpg").write_bytes(astronaut.read_bytes()[:20_000])
    (tmp_path / "d.jpg").write_bytes(astronaut.read_bytes())
    done = mien("analyze", tmp_path, "--json", "--save", tmp_path / "out")
    assert done.returncode == 2
    names = [json.loads(line)["image"]["path"] for line in done.stdout.splitlines()]
    assert [name[-5:] for name in names] == ["a.jpg", "d.jpg"]
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("mien: ")]
    assert len(errors) == 3
    assert "b.jpg" in errors[0]
    assert "c.jpg" in errors[1]
    assert errors[2] == "mien: 2 files failed"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.jpg", "d.jpg"]


def test_saving_never_replaces_a_picture_that_was_given(mien, portrait, tmp_path):
    photo = tmp_path / "one.jpg"
    shutil.copy(portrait, photo)
    for given in (photo, tmp_path):
        done = mien("analyze", given, "--save", tmp_path)
        assert done.returncode == 2
        assert b"is one of the pictures given" in done.stderr
        assert photo.read_bytes() == portrait.read_bytes()


def test_what_an_earlier_run_saved_is_no_picture_of_the_next(mien, portrait, tmp_path):
    shutil.copy(portrait, tmp_path / "one.jpg")
    for _ in range(2):
        done = mien("analyze", tmp_path, "--save", tmp_path / "annotated", "--json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
        assert b"annotated pictures: 1 in" in done.stderr
    assert [p.name for p in (tmp_path / "annotated").iterdir()] == ["one.jpg"]


def test_pictures_that_mien_does_not_read_are_not_passed_over_in_silence(mien, portrait, tmp_path):
    shutil.copy(portrait, tmp_path / "one.jpg")
    for name in ("two.HEIC", "three.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    done = mien("analyze", tmp_path, "--json")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "mien: pictures left out, as mien does not read HEIC: 2; convert them to JPEG"
    ]


def test_results_go_to_standard_output_while_a_bar_is_drawn_on_a_terminal(portrait, tmp_path):
    """Standard error on a terminal of its own, standard output in a file: as in `mien analyze ... > out.jsonl`."""
    pty = pytest.importorskip("pty")
    for i in range(3):
        shutil.copy(portrait, tmp_path / f"{i}.jpg")
    terminal, slave = pty.openpty()
    command = [sys.executable, "-m", "mien", "analyze", str(tmp_path), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, timeout=240, check=False)
    os.close(slave)
    drawn = os.read(terminal, 100_000)
    os.close(terminal)
    assert [json.loads(line)["schema"] for line in done.stdout.splitlines()] == [1, 1, 1]
    assert b"analysing" in drawn


def test_embeddings_without_json_are_refused(mien, portrait):
    assert b"needs --json" in mien("analyze", portrait, "--embeddings").stderr
    assert mien("analyze", portrait, "--embeddings", "--only", "detect", "--json").returncode == 2


def test_saved_pictures_are_annotated_and_keep_their_place(mien, portrait, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(portrait, tmp_path / "in" / "deep" / "one.jpg")
    done = mien("analyze", tmp_path / "in", "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    saved, original = load_image(tmp_path / "out" / "deep" / "one.jpg"), load_image(portrait)
    assert saved.shape == original.shape
    changed = np.abs(saved.astype(int) - original).max(axis=2) > 60
    assert 200 < changed.sum() < 0.2 * changed.size


def test_a_table_on_a_terminal(mien, portrait):
    done = mien("analyze", portrait)
    assert b"1 face" in done.stdout
    assert b"512 x 600" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        (["{empty}"], "no pictures"),
        (["{photo}", "--only", "smile"], "smile"),
        (["{photo}", "--expression-model", "nobody"], "nobody"),
        (["{photo}", "--expression-model", "{photo}.onnx"], "cannot read"),
        (["{photo}", "--expression-model", "expression:{photo}"], "onnxruntime cannot load"),
        (["{photo}", "--expression-model", "mien-s", "--only", "detect"], "--expression-model"),
        (["{photo}", "--size", "huge"], "huge"),
        (["{photo}", "--detector", "nobody"], "centerface"),
        (["{photo}", "--device", "cuda"], "not offered"),
        (["{photo}", "--device", "abacus"], "abacus"),
        (["-", "{photo}"], "standard input"),
        (["{photo}", "--save", "{photo}"], "{photo}"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(mien, portrait, tmp_path, arguments, says):
    places = {"photo": str(portrait), "empty": str(tmp_path)}
    done = mien("analyze", *(a.format(**places) for a in arguments), "--json")
    assert done.returncode == 2
    assert says.format(**places) in " ".join(done.stderr.decode().split())
    assert b"Traceback" not in done.stderr


def test_interrupting_leaves_whole_lines(portrait, tmp_path):
    for i in range(400):
        shutil.copy(portrait, tmp_path / f"{i:03}.jpg")
    command = [sys.executable, "-m", "mien", "analyze", str(tmp_path), "--json"]
    # unbuffered: `communicate` would not give what `readline` had read ahead
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    lines = (first + rest).decode().splitlines()
    assert 1 <= len(lines) < 400
    assert all(json.loads(line)["schema"] == 1 for line in lines)
    assert "Traceback" not in errors.decode()


def test_a_reader_that_leaves_is_no_error(portrait, tmp_path):
    for i in range(50):
        shutil.copy(portrait, tmp_path / f"{i:03}.jpg")
    command = f"set -o pipefail; '{sys.executable}' -m mien analyze '{tmp_path}' --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=240, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["schema"] == 1
    assert b"Traceback" not in done.stderr


def test_names_that_are_no_text_come_through_json(mien, portrait, tmp_path):
    name = os.fsencode(tmp_path) + b"/bad\xff\n\x1b[31m.jpg"
    try:
        shutil.copy(portrait, name)
    except OSError:
        pytest.skip("this file system takes no such name")
    for encoding in ("utf-8:strict", "utf-8:surrogateescape", "ascii:strict"):
        done = mien("analyze", tmp_path, "--json", PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert os.fsencode(json.loads(done.stdout.decode("utf-8"))["image"]["path"]) == name
        shown = mien("analyze", tmp_path, PYTHONIOENCODING="utf-8:strict")
        assert shown.returncode == 0, shown.stderr
        assert b"\x1b[31m" not in shown.stdout
        assert rb"\x1b[31m.jpg" in shown.stdout


def saved_in(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_saved_pictures_of_one_name_do_not_replace_each_other(mien, portrait, astronaut, tmp_path):
    for folder, photo in (("x", portrait), ("y", astronaut), ("z", portrait)):
        (tmp_path / folder).mkdir()
        shutil.copy(photo, tmp_path / folder / "1.jpg")
    done = mien("analyze", tmp_path / "x", tmp_path / "y", tmp_path / "z" / "1.jpg", "--save", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert saved_in(tmp_path / "out") == ["1-2.jpg", "1-3.jpg", "1.jpg"]
    assert load_image(tmp_path / "out" / "1-2.jpg").shape == (512, 512, 3)


def test_saved_pictures_never_replace_the_pictures_given(mien, portrait, astronaut, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(portrait, tmp_path / "1.jpg")
    shutil.copy(astronaut, tmp_path / "in" / "1.jpg")
    done = mien("analyze", tmp_path / "1.jpg", tmp_path / "in", "--save", tmp_path / "in")
    assert done.returncode == 2
    assert b"is one of the pictures given" in done.stderr
    assert (tmp_path / "1.jpg").read_bytes() == portrait.read_bytes()
    assert (tmp_path / "in" / "1.jpg").read_bytes() == astronaut.read_bytes()
    assert saved_in(tmp_path / "in") == ["1-2.jpg", "1.jpg"]


def test_saved_pictures_stay_below_the_folder(mien, portrait, tmp_path):
    (tmp_path / "a" / "in").mkdir(parents=True)
    shutil.copy(portrait, tmp_path / "a" / "in" / "1.jpg")
    shutil.copy(portrait, tmp_path / "2.jpg")
    inside, outside = tmp_path / "a" / "in", tmp_path / "a" / "in" / ".." / ".." / "2.jpg"
    done = mien("analyze", inside, outside, "--save", tmp_path / "a" / "b" / "out")
    assert done.returncode == 0, done.stderr
    assert saved_in(tmp_path / "a" / "b" / "out") == ["1.jpg", "2.jpg"]
    assert (tmp_path / "2.jpg").read_bytes() == portrait.read_bytes()
    assert saved_in(tmp_path) == ["2.jpg", "a/b/out/1.jpg", "a/b/out/2.jpg", "a/in/1.jpg"]


@pytest.mark.parametrize(
    "arguments", [["a" * 5000], ["{photo}", "--size", "9" * 5000], ["{photo}", "--threads", "100000000000"]]
)
def test_absurd_arguments_are_refused_without_a_traceback(mien, portrait, arguments):
    done = mien("analyze", *(a.format(photo=portrait) for a in arguments))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", ["--version", "models list", "analyze {photo}", "analyze {photo} --json"])
def test_a_full_disk_is_one_line(portrait, arguments):
    command = f"'{sys.executable}' -m mien {arguments.format(photo=portrait)} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=240, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1:] == ["mien: No space left on device"]
    assert b"Traceback" not in done.stderr


def test_closed_streams(portrait):
    for arguments, code in ((f"analyze {portrait} --json >&-", 0), ("analyze - <&-", 2), ("analyze nowhere 2>&-", 2)):
        command = f"'{sys.executable}' -m mien {arguments}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=240, check=False)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_interrupting_a_long_line_leaves_it_whole(portrait, tmp_path, unbuffered):
    for i in range(8):
        shutil.copy(portrait, tmp_path / f"{i:03}.jpg")
    # With all that could be faces, one line is larger than any pipe: the interrupt comes while it is being written.
    command = [sys.executable, "-m", "mien", "analyze", str(tmp_path), "--json", "--min-score", "0", "--only", "detect"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        first = process.stdout.read1(100)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        rest, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    text = (first + rest).decode()
    assert text.endswith("\n")
    assert all(json.loads(line)["schema"] == 1 for line in text.splitlines())
    assert "Traceback" not in errors.decode()


def test_eyes_and_mouth_are_told_where_they_are_asked_for(mien, portrait):
    (face,) = faces_of(mien("analyze", portrait, "--json", "--only", "eyes,mouth"))
    assert face["eyes"]["left"]["open"] is True
    assert face["eyes"]["right"]["confidence"] > 0.5
    assert face["mouth"]["open"] is False
    assert "expression" not in face
    table = mien("analyze", portrait, "--only", "eyes,mouth").stdout.decode()
    assert "open" in table
    assert "closed" in table
    (plain,) = faces_of(mien("analyze", portrait, "--json"))
    assert not {"eyes", "mouth"} & plain.keys()
