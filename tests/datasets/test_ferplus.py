from __future__ import annotations

import pickle
import struct
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien.datasets import EXPRESSIONS, NO_ANSWER, has_split, open_image_set
from mien.datasets.ferplus import agreement, majority, read_votes, vote_shares
from mien.datasets.sources import MAX_BYTES
from mien.errors import DataError, ImageError
from tests.datasets.conftest import BOX, HAPPY


def votes(**counts: int) -> np.ndarray:
    names = (*EXPRESSIONS, "unknown", "nobody")
    return np.array([[counts.get(name, 0) for name in names]])


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        (votes(happiness=10), 1),
        (
            votes(happiness=4, sadness=1, anger=1, fear=1, disgust=1, neutral=1, contempt=1),
            1,
        ),  # single votes are dropped
        (votes(happiness=5, sadness=5), NO_ANSWER),
        (votes(happiness=5, sadness=3, anger=2), NO_ANSWER),  # half is not more than half
        (votes(happiness=6, sadness=4), 1),
        (votes(unknown=8, fear=2), NO_ANSWER),
        (votes(nobody=10), NO_ANSWER),
        (votes(neutral=1, happiness=1), NO_ANSWER),
    ],
)
def test_majority(row, answer):
    assert majority(row).tolist() == [answer]


def test_shares_of_the_votes():
    rows = np.concatenate(
        [
            votes(happiness=6, sadness=3, fear=1),
            votes(happiness=5, unknown=5),  # half is not more than half
            votes(happiness=4, unknown=3, nobody=3),
            votes(happiness=1, sadness=1),
        ]
    )
    shares = vote_shares(rows)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares[0, [1, 3, 6]], [2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), [1, 1, 0, 0], rtol=1e-6)


def test_agreement_leaves_each_rater_out():
    found = agreement(np.concatenate([votes(happiness=9, sadness=1), votes(fear=2, anger=2), votes(nobody=10)]))
    # The lone vote for sadness faces 9 for happiness; without one of two for fear, anger alone is left.
    assert found.counts[1, 1] == 9
    assert found.counts[1, 3] == 1
    assert found.counts[4, 6] == 2
    assert found.counts[6, 4] == 2
    assert found.counts.sum() == 14
    assert found.overall == pytest.approx(9 / 14)
    assert found.per_class[1] == pytest.approx(0.9)
    assert np.isnan(found.per_class[0])


def test_agreement_of_nothing():
    assert np.isnan(agreement(np.zeros((0, 10), dtype=np.int64)).overall)


def check(path):
    part = open_image_set(path, split="train")
    assert part.name == "FER+ train"
    assert part.labels == EXPRESSIONS
    assert part.truth.tolist() == [1, 3, NO_ANSWER, NO_ANSWER]
    assert part.targets[2, :2].tolist() == [0.5, 0.5]
    assert len(part.for_training()) == 3
    assert len(part.for_measuring()) == 2
    picture = part.read(0)
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    assert read_votes(path)[3].tolist() == [0, 3, 0, 0, 0, 0, 0, 0, 0, 7]


def test_zip(zipped):
    check(zipped())


@pytest.mark.parametrize("inside", ["", "ferplus", "ferplus/FER2013Train"])
def test_folder(zipped, tmp_path, inside):
    with zipfile.ZipFile(zipped()) as archive:
        archive.extractall(tmp_path / "unpacked")
    check(tmp_path / "unpacked" / inside)


def test_parts(zipped):
    zipped()
    path = zipped(f"fer0.png,{BOX},{HAPPY}", part="ferplus/FER2013Valid/")
    assert has_split(path, "train")
    assert has_split(path, "validation")
    assert not has_split(path, "test")
    assert len(open_image_set(path, split="validation")) == 1
    with pytest.raises(DataError, match=r"several parts \(train, validation\); say which"):
        open_image_set(path)
    with pytest.raises(DataError, match=r"no test part"):
        open_image_set(path, split="test")


def test_a_set_without_parts_is_training_data(zipped):
    path = zipped(part="")
    assert len(open_image_set(path)) == len(open_image_set(path, split="train")) == 4
    assert has_split(path, "train")
    assert not has_split(path, "validation")


def test_box_is_cut_out(zipped):
    part = open_image_set(zipped(f'fer0.png,"(8, 4, 40, 44)",{HAPPY}\nfer1.png,"(0, 0, 49, 48)",{HAPPY}'))
    assert part.read(0).shape == (40, 32, 3)
    with pytest.raises(ImageError, match=r"fer1\.png: 48 x 48 pixels do not hold"):
        part.read(1)


def test_threads_and_other_processes(zipped):
    part = open_image_set(zipped())
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(part.read, [i % 4 for i in range(400)]))
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    sent = pickle.loads(pickle.dumps(part.subset([2, 1])))
    assert np.array_equal(sent.read(1), pictures[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        (f"fer0.png,{BOX},1,2", "line 1: expected file, box and 10 votes, found 4 fields"),
        (f"fer0.png,{BOX},{HAPPY},1", "found 13 fields"),
        (f"fer0.png,{BOX},{HAPPY}\n\nfer1.png,{BOX},{HAPPY[:-1]}x", "line 3: 'x' is not a number of votes"),
        (f"fer0.png,{BOX},-1{HAPPY[1:]}", "'-1' is not a number"),
        (f"fer0.png,{BOX},²{HAPPY[1:]}", "is not a number"),
        (f"fer0.png,{BOX},{'9' * 5000}{HAPPY[1:]}", "is not a number"),
        (f"fer0.png,48,{HAPPY}", "'48' is not a box"),
        (f'fer0.png,"(9, 0, 3, 48)",{HAPPY}', "is not a box"),
        (f"../../../etc/passwd,{BOX},{HAPPY}", "is not the name of a picture"),
        (f"C:\\x.png,{BOX},{HAPPY}", "is not the name of a picture"),
        (f"..,{BOX},{HAPPY}", "is not the name of a picture"),
        (f"fer0.png,{BOX},{HAPPY}\nfer9.png,{BOX},{HAPPY}", r"line 2: fer9\.png does not lie beside it; 1 of 2"),
        (f"fer0.png,{BOX},{HAPPY}\nfer0.png,{BOX},{HAPPY}", "line 2: fer0.png has a row already, line 1"),
        ('"' + "x" * 200_000, "not a row of a csv table"),
        ("x" * 3_000_000, "longer than any row"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"fer\x1b[2J\n.png", "found 1 fields"),
    ],
)
def test_malformed_labels(zipped, text, message):
    with pytest.raises(DataError, match=message) as caught:
        open_image_set(zipped(text))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_no_labels(zipped):
    with pytest.raises(DataError, match=r"without label\.csv; unpack it .*understood are"):
        open_image_set(zipped(None))


def test_two_tables_for_one_part(zipped):
    zipped()
    with pytest.raises(DataError, match=r"a second label\.csv"):
        open_image_set(zipped(part="other/FER2013Train/"))


def test_labels_that_inflate(zipped):
    path = zipped(b"0" * (MAX_BYTES + 1))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"label\.csv: over the limit"):
        open_image_set(path)


def test_pictures_that_inflate_or_are_none(zipped):
    part = open_image_set(zipped(fer0=bytes(MAX_BYTES + 1), fer1=b"hello", fer2=b""))
    with pytest.raises(ImageError, match=r"fer0\.png: over the limit"):
        part.read(0)
    with pytest.raises(ImageError, match=r"FER2013Train/fer1\.png: not a JPEG"):
        part.read(1)
    with pytest.raises(ImageError, match=r"fer2\.png: the file is empty"):
        part.read(2)
    assert part.read(3).shape == (48, 48, 3)


def directory_entry(data: bytes, name: bytes) -> int:
    """Where the central directory describes a file."""
    at = data.index(b"PK\x01\x02")
    while data[at + 46 : at + 46 + len(name)] != name:
        at = data.index(b"PK\x01\x02", at + 1)
    return at


def patched(path, name: bytes, offset: int, value: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = directory_entry(bytes(data), name) + offset
    data[at : at + len(value)] = value
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_size_that_lies(zipped, size):
    path = zipped()
    patched(path, b"ferplus/FER2013Train/fer0.png", 24, struct.pack("<I", size))
    with pytest.raises(ImageError, match=r"fer0\.png: the archive is damaged here"):
        open_image_set(path).read(0)


def test_encrypted(zipped):
    path = zipped()
    patched(path, b"ferplus/FER2013Train/fer1.png", 8, b"\x01\x00")
    with pytest.raises(DataError, match=r"fer1\.png: encrypted"):
        open_image_set(path)
    patched(path, b"ferplus/FER2013Train/label.csv", 8, b"\x01\x00")
    with pytest.raises(DataError, match=r"label\.csv: encrypted"):
        open_image_set(path)


def test_other_compressions(zipped):
    path = zipped()
    patched(path, b"ferplus/FER2013Train/fer1.png", 10, b"\x0e\x00")
    with pytest.raises(ImageError, match=r"fer1\.png: compressed with a method"):
        open_image_set(path).read(1)


def test_a_directory_that_is_too_large(zipped):
    path = zipped()
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    padded = data[:end] + bytes(2 * MAX_BYTES) + data[end:]
    size = struct.unpack("<I", data[end + 12 : end + 16])[0] + 2 * MAX_BYTES
    at = len(padded) - (len(data) - end)
    path.write_bytes(padded[: at + 12] + struct.pack("<I", size) + padded[at + 16 :])
    with pytest.raises(DataError, match="its directory is over the limit"):
        open_image_set(path)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.95])
def test_truncated(zipped, keep):
    path = zipped()
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match="not a zip archive, damaged or cut off"):
        open_image_set(path)


def test_damaged_bytes_never_escape(zipped):
    path = zipped()
    data = path.read_bytes()
    random = np.random.default_rng(0)
    messages: list[str] = []
    for _ in range(60):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 20):
            broken[at] = random.integers(256)
        path.write_bytes(broken)
        try:
            part = open_image_set(path)
            for i in range(len(part)):
                part.read(i)
        except (DataError, ImageError) as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(message.isprintable() for message in messages)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "split", "pictures", "judged"),
    [("ferplus_valid.zip", "validation", 3579, 3191), ("ferplus_train.zip", "train", 28558, 25045)],
)
def test_the_real_one(shared, file, split, pictures, judged):
    before = time.process_time()
    part = open_image_set(shared / file, split=split)
    assert time.process_time() - before < 3
    assert len(part) == pictures
    assert len(part.for_measuring()) == judged
    sums = part.targets.sum(axis=1)
    assert np.all((sums == 0) | (abs(sums - 1) < 1e-6))
    assert part.read(pictures - 1).shape == (48, 48, 3)
    raters = agreement(read_votes(shared / file))
    assert 0.7 < raters.overall < 0.8
    assert raters.per_class.argmax() == EXPRESSIONS.index("happiness")
