from __future__ import annotations

import pickle

import pytest

from mien.datasets import EXPRESSIONS, NO_ANSWER, has_split, open_image_set
from mien.errors import DataError

GREY = " ".join(str(i % 256) for i in range(48 * 48))
TITLES = "emotion,pixels,Usage\n"
ROWS = [f"3,{GREY},Training\n", f"6,{GREY},Training\n", f"0,{GREY},PublicTest\n", f"5,{GREY},PrivateTest\n"]


@pytest.fixture
def table(tmp_path):
    def write(text: str = TITLES + "".join(ROWS), votes: str | None = None):
        path = tmp_path / "fer2013.csv"
        path.write_text(text)
        if votes is not None:
            (tmp_path / "fer2013new.csv").write_text(votes)
        return path

    return write


def test_parts(table):
    path = table()
    part = open_image_set(path, split="train")
    assert part.labels == EXPRESSIONS[:7]
    assert [part.labels[i] for i in part.truth] == ["happiness", "neutral"]
    assert part.targets.argmax(axis=1).tolist() == part.truth.tolist()
    assert part.read(1).shape == (48, 48, 3)
    assert part.read(1)[0, :3, 0].tolist() == [0, 1, 2]
    assert part.items[1].endswith("fer2013.csv, line 3")
    assert len(pickle.loads(pickle.dumps(part))) == 2
    assert open_image_set(path.parent, split="validation").truth.tolist() == [EXPRESSIONS.index("anger")]
    assert has_split(path, "test")
    with pytest.raises(DataError, match="several parts"):
        open_image_set(path)


def test_without_usage_and_other_order(table):
    path = table(f" pixels,Emotion\n{GREY},1\n")
    assert open_image_set(path).truth.tolist() == [EXPRESSIONS.index("disgust")]
    assert has_split(path, "train")
    assert not has_split(path, "validation")
    with pytest.raises(DataError, match="no validation part"):
        open_image_set(path, split="validation")


VOTES = "Usage,Image name," + ",".join(str(i) for i in range(10)) + "\n"


def test_votes_beside_it(table):
    new = VOTES + "Training,fer0.png,0,10,0,0,0,0,0,0,0,0\nTraining,,0,0,0,0,0,0,0,0,0,10\n"
    part = open_image_set(table(votes=new + "PublicTest,a.png,0,0,0,0,0,0,0,9,1,0\n" * 2), split="validation")
    assert part.labels == EXPRESSIONS
    assert part.truth.tolist() == [7]
    assert open_image_set(table(), split="train").truth.tolist() == [1, NO_ANSWER]


@pytest.mark.parametrize("votes", [VOTES + "Training,a,0,10,0,0,0,0,0,0,0,0\n", "a,b\n", VOTES + "x\n" * 4])
def test_votes_that_do_not_fit(table, votes):
    with pytest.raises(DataError, match=r"fer2013"):
        open_image_set(table(votes=votes), split="train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not name the columns"),
        ("a,b\n1,2\n", "does not name the columns"),
        (TITLES, "without rows"),
        (TITLES + f"7,{GREY},Training", "line 2: emotion is '7'"),
        (TITLES + f",{GREY},Training", "emotion is ''"),
        (TITLES + f"1,{GREY},Holiday", "Usage is 'Holiday'"),
        (TITLES + f"1,{GREY}", "expected 3 fields, found 2"),
        (TITLES + f"1,{GREY} 1,Training", "2305 pixels, expected 48 x 48"),
        (TITLES + f"1,{GREY.replace('255', '256')},Training", "'256' is not a pixel"),
        (TITLES + f"1,{GREY.replace('255', '-1')},Training", "'-1' is not a pixel"),
        (TITLES + f"1,{'1 ' * 600_000},Training", "longer than any row"),
    ],
)
def test_malformed(table, text, message):
    with pytest.raises(DataError, match=message):
        open_image_set(table(text), split="train")
