from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from mien.errors import DataError, GalleryError, MienError
from mien.gallery.grouping.contact import write_sheets
from mien.gallery.grouping.face_file import MadeBy, read_faces, write_faces
from mien.gallery.grouping.grouping import GroupingRule, grouped
from mien.gallery.grouping.groups import Groups, embeddings_path, new_faces, read_groups, write_groups
from mien.models.base import CropSpec
from mien.types import Faces

MADE_BY = MadeBy("toy", "ab" * 32, "fast", 4, "l2", "toy", "640")


def picture(*embeddings) -> Faces:
    n = len(embeddings)
    rng = np.random.default_rng(n)
    box = rng.uniform(0, 99, (n, 4))
    return Faces(box, rng.uniform(0, 1, n), rng.uniform(0, 99, (n, 5, 2)), (100, 80), np.reshape(embeddings, (n, 4)))


A, B, C = [0, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0]
PICTURES = {"11" * 32: picture(A, B), "22" * 32: picture(A), "33" * 32: picture(), "44" * 32: picture(B, C, C)}
PATHS = {digest: [f"{digest[:2]}.jpg"] for digest in PICTURES}


def of_toy(paths=PATHS, **options) -> Groups:
    return grouped(PICTURES, paths, MADE_BY, GroupingRule("l2", 0.5), threshold=0.5, **options)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "groups.json"
    write_faces(embeddings_path(path), PICTURES, MADE_BY)
    write_groups(path, of_toy(), PICTURES)
    return path


def test_faces_are_kept_as_they_are(tmp_path):
    write_faces(tmp_path / "f.npz", PICTURES, MADE_BY)
    pictures, made_by = read_faces(tmp_path / "f.npz")
    assert made_by == MADE_BY
    assert list(pictures) == list(PICTURES)
    for digest, faces in PICTURES.items():
        for name in ("boxes", "scores", "landmarks", "embeddings", "image_size"):
            assert np.array_equal(getattr(pictures[digest], name), getattr(faces, name)), name
    write_faces(tmp_path / "f.npz", {}, MADE_BY)
    assert read_faces(tmp_path / "f.npz") == ({}, MADE_BY)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_what_is_written_of_faces_is_its_owners_alone(tmp_path):
    before, path = os.umask(0), tmp_path / "groups.json"
    try:
        write_faces(embeddings_path(path), PICTURES, MADE_BY)
        write_groups(path, of_toy(), PICTURES)
        (tmp_path / "sheets").mkdir()
        template = tuple((float(x), float(y)) for x, y in np.random.default_rng(0).uniform(0, 128, (5, 2)))
        crop = CropSpec(128, template)
        write_sheets(tmp_path / "sheets", of_toy(), PICTURES, crop, progress=lambda done, total: None)
    finally:
        os.umask(before)
    files = [path, embeddings_path(path), *(tmp_path / "sheets").iterdir()]
    assert len(files) == 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_groups_are_kept_as_they_are(written):
    groups, pictures = read_groups(written)
    assert groups.members == {1: [("11" * 32, 0), ("22" * 32, 0)], 2: [("11" * 32, 1), ("44" * 32, 0)]}
    assert groups.ungrouped == [("44" * 32, 1), ("44" * 32, 2)]  # the same face, but in one picture
    assert groups.labels()["22" * 32, 0] == 1
    (one, other) = new_faces(groups, pictures, 1)
    assert (one.source, one.source_sha256, one.person) == ("11.jpg", "11" * 32, None)
    assert one.embedding.tolist() == A
    assert other.box == pytest.approx(PICTURES["22" * 32].boxes[0])
    assert other.landmarks is not None
    assert len(other.landmarks) == 5
    with pytest.raises(GalleryError, match="from 1 to 2"):
        new_faces(groups, pictures, 3)


def test_one_person_twice_in_a_picture_where_that_is_allowed():
    assert len(of_toy(twice_in_picture=True).members) == 3


def test_extending_keeps_numbers():
    first = of_toy(paths={digest: PATHS[digest] for digest in list(PATHS)[:2]})
    assert list(first.members) == [1]
    renumbered = Groups(MADE_BY, 0.5, 2, {9: first.members[1]})
    extended = of_toy(earlier=renumbered)
    assert sorted(extended.members) == [9, 10]
    assert extended.members[9] == first.members[1]


def test_no_faces_at_all():
    none = grouped({"33" * 32: picture()}, {"33" * 32: ["33.jpg"]}, MADE_BY, GroupingRule("l2", 0.5), threshold=0.5)
    assert (none.members, none.ungrouped) == ({}, [])


def test_copies_are_named_once():
    paths = {**PATHS, "22" * 32: ["22.jpg", "copy.jpg"]}
    written = of_toy(paths=paths).to_dict(PICTURES)["groups"][0]["faces"]
    assert [(face["path"], face.get("copies")) for face in written] == [("11.jpg", None), ("22.jpg", ["copy.jpg"])]


def changed(value, *path):
    """A change of groups.json: the last of the path becomes the value."""

    def change(groups):
        target = groups
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("something", "kind"),
        changed(2, "schema"),
        changed(None, "groups"),
        changed(float("nan"), "threshold"),
        changed(10**400, "threshold"),
        changed(True, "threshold"),
        changed(2, "threshold"),
        changed("2", "min_size"),
        changed(0, "groups", 0, "group"),
        changed(2, "groups", 0, "group"),
        changed([], "groups", 0, "faces"),
        changed("zz", "groups", 0, "faces", 0, "picture_sha256"),
        changed(-1, "groups", 0, "faces", 0, "face"),
        changed(5, "groups", 0, "faces", 0, "face"),
        changed(1, "groups", 0, "faces", 0, "face"),
        changed(3, "groups", 0, "faces", 0, "path"),
        changed("x", "groups", 0, "faces", 0, "copies"),
        changed("55" * 32, "ungrouped", 0, "picture_sha256"),
        changed("other", "made_by", "embedder"),
        changed("angle", "made_by", "metric"),
        changed({}, "made_by"),
    ],
)
def test_changed_groups_are_refused_in_one_line(written, change):
    groups = json.loads(written.read_text())
    change(groups)
    written.write_text(json.dumps(groups))
    with pytest.raises(DataError) as refused:
        read_groups(written)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 200_000])
def test_files_that_are_no_groups(tmp_path, content):
    (tmp_path / "groups.json").write_bytes(content)
    with pytest.raises(DataError, match="no groups that"):
        read_groups(tmp_path / "groups.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "nowhere.json")


def rewritten(path, **arrays):
    with np.load(path) as kept:
        np.savez(path, **{**kept, **arrays})


@pytest.mark.parametrize(
    "arrays",
    [
        {"embeddings": np.full((6, 4), np.nan, np.float32)},
        {"embeddings": np.zeros((6, 5), np.float32)},
        {"embeddings": np.zeros((6, 4))},
        {"embeddings": np.full((6, 4), 1e30, np.float32)},
        {"counts": np.array([2, 1, 0, 4])},
        {"counts": np.array([2, -1, 0, 5])},
        {"sizes": np.full((4, 2), -(2**63))},
        {"pictures": np.zeros((4, 31), np.uint8)},
        {"scores": np.float32(1)},
        {"header": np.frombuffer(b'{"format": "mien faces 2"}', np.uint8)},
        {"header": np.frombuffer(b"[" * 90_000, np.uint8)},
        {"boxes": np.array([{}], dtype=object)},
        {"more": np.zeros(1)},
    ],
)
def test_changed_faces_are_refused_in_one_line(written, arrays):
    beside = embeddings_path(written)
    rewritten(beside, **arrays)
    with pytest.raises(DataError, match="no file of faces") as refused:
        read_groups(written)
    assert "\n" not in str(refused.value)


def test_truncated_packed_and_flipped_faces(written):
    beside = embeddings_path(written)
    whole = beside.read_bytes()
    for size in range(0, len(whole), 97):
        beside.write_bytes(whole[:size])
        with pytest.raises(DataError):
            read_groups(written)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    beside.write_bytes(flipped)
    with pytest.raises(DataError):
        read_groups(written)
    beside.write_bytes(whole)
    with np.load(beside) as arrays:
        kept = dict(arrays)
    np.savez_compressed(beside, **kept)
    with zipfile.ZipFile(beside) as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED
    with pytest.raises(DataError, match="packed again"):
        read_groups(written)
    beside.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(written)


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(MienError, match="cannot be written"):
        write_faces(tmp_path / "nowhere" / "f.npz", PICTURES, MADE_BY)


def shaped(shape, kind="<f4"):
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "header",
    [
        *("(" * 9000, "{'a':" + "[" * 3000, "-" * 9000 + "1", "{'descr': 5}"),
        *map(shaped, ["(0, 100000000000000000000)", "(1000000000000,)", "(-2, -3)", "(0, -1)"]),
        shaped("(1000000000000,)", "|V0"),
        shaped("(1,)", "|O"),
    ],
)
def test_headers_of_arrays_that_no_parser_takes(written, header):
    beside = embeddings_path(written)
    with zipfile.ZipFile(beside) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["scores.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(beside, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match="no file of faces") as refused:
        read_groups(written)
    assert len(str(refused.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_pipes_are_not_waited_for(written, suffix):
    pipe = written.with_suffix(suffix)
    pipe.unlink()
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(DataError, match="it is a pipe"):
            read_groups(written)
    finally:
        os.close(end)
