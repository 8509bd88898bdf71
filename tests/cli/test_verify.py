"""`mien verify`: exit code 0 same, 1 different, 2 no answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SAME = [("obama_1.jpg", "obama_2.jpg"), ("biden_1.jpg", "biden_2.jpg"), ("rose_1.jpg", "rose_2.jpg")]
SAME += [("kit_1.jpg", "kit_2.jpg"), ("alex_1.png", "alex_2.jpg")]
DIFFERENT = [("obama_1.jpg", "biden_1.jpg"), ("rose_1.jpg", "kit_1.jpg"), ("lin_1.png", "alex_2.jpg")]


def test_a_photograph_and_a_smaller_copy_are_one_person(mien, portrait, tmp_path):
    copy = tmp_path / "copy.png"
    Image.open(portrait).resize((256, 300)).save(copy)
    done = mien("verify", portrait, copy, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["same"] is True
    assert answer["similarity"] > 0.8
    assert answer["probability"] > 0.99
    assert answer["fmr"] == 1e-3
    assert answer["a"]["path"] == str(portrait)
    assert len(answer["b"]["box"]) == 4


def test_two_people_are_two_people(mien, portrait, astronaut):
    done = mien("verify", portrait, astronaut)
    assert done.returncode == 1
    assert b"different people" in done.stdout


@pytest.mark.parametrize("rate", ["1e-2", "1e-3", "1e-4"])
def test_lower_false_match_rates_ask_for_more(mien, portrait, astronaut, rate):
    answer = json.loads(mien("verify", portrait, astronaut, "--fmr", rate, "--json").stdout)
    assert answer["fmr"] == float(rate)
    assert -1 <= answer["similarity"] < answer["threshold"] < 1


def test_all_compares_every_pair(mien, portrait, astronaut, tmp_path):
    both = tmp_path / "both.png"
    faces = [np.asarray(Image.open(p).convert("RGB").resize((300, 300))) for p in (portrait, astronaut)]
    Image.fromarray(np.hstack(faces)).save(both)
    done = mien("verify", both, astronaut, "--all", "--json")
    pairs = json.loads(done.stdout)["pairs"]
    assert done.returncode == 0
    assert sorted(pair["same"] for pair in pairs) == [False, True]
    (match,) = (pair for pair in pairs if pair["same"])
    assert match["a"]["box"][0] > 300  # the right one


def test_the_largest_of_several_is_compared_and_said(mien, portrait, astronaut, tmp_path):
    both = tmp_path / "both.png"
    sizes = {portrait: (512, 600), astronaut: (300, 600)}
    faces = [np.asarray(Image.open(p).convert("RGB").resize(size)) for p, size in sizes.items()]
    Image.fromarray(np.hstack(faces)).save(both)
    done = mien("verify", both, portrait)
    assert done.returncode == 0, done.stdout
    assert b"both.png shows 2 faces; the largest is compared" in done.stderr
    table = mien("verify", both, portrait, "--all").stdout.decode()
    assert "1 of 2 pairs match" in table


def test_standard_input(mien, portrait, astronaut):
    assert mien("verify", "-", portrait, stdin=portrait.read_bytes()).returncode == 0
    assert mien("verify", astronaut, "-", stdin=portrait.read_bytes()).returncode == 1
    assert mien("verify", "-", "-", stdin=portrait.read_bytes()).returncode == 2


@pytest.mark.parametrize(
    ("same", "probability", "says"),
    [
        (True, 0.99999, "same person: .* over 99.9%"),
        (False, 0.997, "not confirmed as one person: .* 99.7%"),
        (False, 0.1, "different people: .* 10.0%"),
        (False, 0.0, "different people: .* under 0.1%"),
    ],
)
def test_the_answer_in_words(same, probability, says):
    from mien.cli.verify import _sentence

    pair = {"same": same, "probability": probability, "similarity": 0.6, "threshold": 0.65, "fmr": 1e-4}
    assert re.match(says, _sentence(pair))


def test_no_face_is_exit_code_2_and_says_where(mien, portrait, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (300, 300), "white").save(blank)
    done = mien("verify", portrait, blank)
    assert done.returncode == 2
    (line,) = done.stderr.decode().strip().splitlines()
    assert "blank.png: no face found" in line


def test_a_rate_without_a_threshold_is_refused(mien, portrait):
    done = mien("verify", portrait, portrait, "--fmr", "0.5")
    assert done.returncode == 2
    assert b"1e-3" in done.stderr


@pytest.mark.data
@pytest.mark.parametrize(("a", "b"), SAME)
def test_real_pairs_of_one_person(mien, shared_photos, a, b):
    done = mien("verify", shared_photos / a, shared_photos / b, "--json")
    assert done.returncode == 0, done.stdout


@pytest.mark.data
@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_real_pairs_of_two_people(mien, shared_photos, a, b):
    done = mien("verify", shared_photos / a, shared_photos / b, "--json")
    assert done.returncode == 1, done.stdout


def test_the_answer_stays_when_nobody_reads(portrait, astronaut):
    for other, code in ((portrait, 0), (astronaut, 1)):
        command = f"{{ '{sys.executable}' -m mien verify '{portrait}' '{other}'; echo $? >&2; }} | true"
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=240, check=False)
        assert done.stderr.decode().split() == [str(code)]
