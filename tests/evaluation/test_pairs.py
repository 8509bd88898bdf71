from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import DataError
from mien.evaluation.pairs import read_pairs

LFW = "2\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tBo_Ek\t1\nBo_Ek\t1\t12\nBo_Ek\t12\tAnn_Lee\t2\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("Ann_Lee/Ann_Lee_0001", "Ann_Lee/Ann_Lee_0002", "Bo_Ek/Bo_Ek_0001", "Bo_Ek/Bo_Ek_0012"):
        path = tmp_path / "pictures" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "pictures"


@pytest.fixture
def read(root: Path):
    def read(text: str | bytes, at: Path = root):
        path = root.parent / "pairs.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_pairs(path, at)

    return read


def listed(pairs, root: Path) -> list[tuple[str, str, bool, int]]:
    names = [path.relative_to(root).name for path in pairs.paths]
    return [
        (names[a], names[b], bool(same), int(fold))
        for a, b, same, fold in zip(pairs.first, pairs.second, pairs.same, pairs.fold, strict=True)
    ]


EXPECTED = [
    ("Ann_Lee_0001.jpg", "Ann_Lee_0002.jpg", True, 0),
    ("Ann_Lee_0001.jpg", "Bo_Ek_0001.jpg", False, 0),
    ("Bo_Ek_0001.jpg", "Bo_Ek_0012.jpg", True, 1),
    ("Bo_Ek_0012.jpg", "Ann_Lee_0002.jpg", False, 1),
]


@pytest.mark.parametrize(
    "text",
    [
        LFW,
        LFW.replace("\n", "\r\n"),
        LFW.replace("\n", "\n\n  \n"),
        "\n" + LFW.rstrip("\n"),
        LFW.replace("\t", "  "),
        "\ufeff" + LFW,
    ],
    ids=["plain", "windows", "blank lines", "no last line end", "spaces", "byte order mark"],
)
def test_lfw(read, root, text):
    pairs = read(text)
    assert listed(pairs, root) == EXPECTED
    assert len(pairs) == 4
    assert len(pairs.paths) == 4


def test_one_number_is_one_fold(read, root):
    text = "2\nAnn_Lee\t1\t2\nBo_Ek\t1\t12\nAnn_Lee\t1\tBo_Ek\t1\nBo_Ek\t12\tAnn_Lee\t2\n"
    assert listed(read(text), root) == [(a, b, same, 0) for a, b, same, _ in sorted(EXPECTED, key=lambda r: -r[2])]


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".webp"])
def test_other_suffixes(read, root, suffix):
    for path in list(root.rglob("*.jpg")):
        path.rename(path.with_suffix(suffix))
    assert {path.suffix for path in read(LFW).paths} == {suffix}


def test_root_may_be_the_folder_above_lfw(read, root):
    root.rename(root.parent / "lfw")
    pairs = read(LFW, root.parent)
    assert pairs.paths[0] == root.parent / "lfw/Ann_Lee/Ann_Lee_0001.jpg"


def test_names_with_spaces_between_tabs(read, root):
    folder = root / "Cy De Ro"
    folder.mkdir()
    for n in (1, 2):
        (folder / f"Cy De Ro_000{n}.jpg").touch()
    pairs = read("1\t1\nCy De Ro\t1\t2\nCy De Ro\t2\tBo_Ek\t1\n")
    assert [path.name for path in pairs.paths] == ["Cy De Ro_0001.jpg", "Cy De Ro_0002.jpg", "Bo_Ek_0001.jpg"]


A1, A2, B1 = "Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bo_Ek/Bo_Ek_0001.jpg"


class TestTable:
    def test_commas_without_folds(self, read):
        pairs = read(f"{A1},{A2},1\n\n{A1},{B1},0\r\n")
        assert pairs.same.tolist() == [True, False]
        assert pairs.fold.tolist() == [0, 0]
        assert pairs.first.tolist() == [0, 0]
        assert pairs.second.tolist() == [1, 2]

    def test_tabs_folds_and_words(self, read):
        pairs = read(f"{A1}\t{A2}\tSame\t3\n{A1}\t{B1}\tfalse\t10\n")
        assert pairs.same.tolist() == [True, False]
        assert pairs.fold.tolist() == [3, 10]

    def test_quoted_comma_and_absolute_path(self, read, root):
        odd = root / "a, b.jpg"
        odd.touch()
        pairs = read(f'"a, b.jpg",{A1},0\n{root / A1},{A2},1\n')
        assert pairs.paths[:2] == (odd, root / A1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"pairs.txt: empty"),
        (" \n\r\n", r"pairs.txt: empty"),
        (b"\xff\xd8\xff\xe0", r"pairs.txt: not UTF-8 text"),
        ("hello\n", r"line 1: expected LFW's counts"),
        ("0\t300\n", r"line 1: announces no pairs"),
        ("2\t0\n", r"line 1: announces no pairs"),
        ("1\t1\nAnn_Lee\t1\t2\n", r"line 2: ends before the 2 pairs that line 1 announces .* found 1"),
        (LFW + "\nBo_Ek\t1\t12\n", r"line 7: goes on after the 4 pairs .* found 5"),
        ("1\t1\nAnn_Lee\t1\tBo_Ek\t1\nAnn_Lee\t1\t2\n", r"line 2: expected `name i j` .* found 4 fields"),
        ("1\t1\nAnn_Lee\t1\t2\n\nAnn_Lee\t1\t2\n", r"line 4: expected `name i other j` .* found 3 fields"),
        ("1\t1\nAnn_Lee\t1\tx\nAnn_Lee\t1\tBo_Ek\t1\n", r"line 2: 'x' is not the number of a picture"),
        ("1\t1\nAnn_Lee\t1\t0\nAnn_Lee\t1\tBo_Ek\t1\n", r"line 2: '0' is not the number of a picture"),
        ("1\t1\nAnn_Lee\t2\t2\nAnn_Lee\t1\tBo_Ek\t1\n", r"line 2: compares picture 2 of Ann_Lee with itself"),
        (
            "1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tAnn_Lee\t2\n",
            r"line 3: a pair of two people names Ann_Lee twice",
        ),
        ("1\t1\n\t1\t2\nAnn_Lee\t1\tBo_Ek\t1\n", r"line 2: a name is empty"),
        (f"{A1},{A2}\n", r"line 1: expected LFW's counts"),
        (f"{A1},{A2},1\n{A1},{B1}\n", r"line 2: expected `path_a,path_b,same\[,fold\]` .* found 2 fields"),
        (f"{A1},{A2},1,0\n{A1},{B1},0\n", r"line 2: .* found 3 fields"),
        ("path_a,path_b,same\n", r"line 1: titles, and no pairs below them"),
        (f"{A1},{A2},1\n{A1},{B1},2\n", r"line 2: same is '2', expected 1 or 0"),
        (f"{A1},{A2},1,x\n", r"line 1: fold is 'x'"),
        (f"{A1},,1\n", r"line 1: a path is empty"),
        (f"{A1},{A1},1\n", r"line 1: compares .* with itself"),
        (f'{A1},"{A2},1\n', r"line 1: .*one pair a line"),
        (
            LFW.replace("12", "13"),
            r"line 4: Bo_Ek/Bo_Ek_0013.jpg is not in .*pictures; 1 of 4 pictures are missing",
        ),
        ("1\t1\nNo\t1\t2\nAnn_Lee\t1\tNo\t1\n", r"line 2: No/No_0001.jpg is not in .*; 2 of 3 pictures"),
        (f"{A1},x.jpg,1\n{A2},y.jpg,0\n", r"line 1: x.jpg is not in .*; 2 of 4 pictures"),
    ],
)
def test_every_mistake_names_the_file_and_the_line(read, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(text)
    assert "pairs.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_file_or_root(read, root):
    with pytest.raises(DataError, match=r"absent.txt: cannot be read \(No such file"):
        read_pairs(root / "absent.txt", root)
    with pytest.raises(DataError, match="nowhere: not a folder"):
        read(LFW, root / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000 + "\nA\t1\t2\n",
        f"10\t{'9' * 5000}\nA\t1\t2\n",
        f"1\nAnn_Lee\t1\t{'9' * 5000}\nAnn_Lee\t1\tBo_Ek\t1\n",
        f"a,b,1,{'9' * 5000}\n",
        f"a,b,1,{'9' * 30}\n",
    ],
)
def test_absurd_numbers_are_data_errors(read, text):
    with pytest.raises(DataError, match=r"line [12]: "):
        read(text)


def test_a_table_may_have_titles(read):
    plain = read(f"{A1},{A2},1,0\n{A1},{B1},0,1\n")
    titled = read(f"path_a,path_b,same,fold\n{A1},{A2},1,0\n{A1},{B1},0,1\n")
    assert list(titled.same) == list(plain.same)
    assert list(titled.fold) == list(plain.fold)
