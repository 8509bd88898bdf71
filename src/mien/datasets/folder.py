"""One folder for each class, as most people keep their pictures: ROOT/happy/1.jpg, or ROOT/train/happy/1.jpg."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Literal, NoReturn, TypeAlias

import numpy as np

from mien.datasets.base import ImageSet, Split, choose_part, one_hot
from mien.datasets.labels import expression_named
from mien.datasets.sources import listed
from mien.errors import DataError
from mien.ops.files import list_images, natural_key, printable
from mien.ops.image import load_image
from mien.types import ImageArray

Task: TypeAlias = Literal["expression", "people"]

_SPLITS: dict[str, Split] = {"train": "train", "training": "train"}
_SPLITS |= {"validation": "validation", "valid": "validation", "val": "validation"}
_SPLITS |= {"test": "test", "testing": "test"}
_LEFT_BY_ARCHIVERS = "__MACOSX"


def read_folder(root: str | os.PathLike[str], *, split: Split | None = None, task: Task = "expression") -> ImageSet:
    """Pictures in one folder for each class.

    Pictures are found by their extension, in natural order; hidden files, and folders inside the classes, are left out.
    None is opened before it is read, so a damaged one is an ImageError of `ImageSet.read`.

    Args:
        root: holds the classes, or the folders of the parts: train (training), validation (valid, val), test (testing).
        split: which part; None where there are none, or only one. "train" also gives a data set without parts.
        task: "expression" maps names such as "happy" or "高兴" to the labels of `EXPRESSIONS`, and keeps those that it
            does not know; "people" keeps all.

    Returns:
        `labels` in natural order. They are those of the training part for every part, so that they can be compared.

    Raises:
        DataError: not such a folder; fewer than two classes; a class without pictures, or one that training does not
            have; a folder that cannot be listed, or a link that leads nowhere.
    """
    root = Path(root)
    parts = _parts(root)
    chosen = choose_part(printable(root), parts, split)
    classes = _classes(chosen, task)
    labels = tuple(_classes(parts["train"], task) if "train" in parts else classes)
    unknown = [label for label in classes if label not in labels]
    if unknown:
        raise DataError(f"{printable(classes[unknown[0]])}: the training part has no class {printable(unknown[0])}")
    if len(labels) < 2:
        raise DataError(f"{printable(root)}: one class only, {printable(labels[0])}; at least two are needed")
    paths: list[Path] = []
    truth: list[int] = []
    for label, folder in classes.items():
        pictures = _pictures(folder)
        paths += pictures
        truth += [labels.index(label)] * len(pictures)
    answers = np.array(truth, dtype=np.int64)
    return ImageSet(
        name=f"{printable(root.resolve().name)}{f' {split}' if split in parts and split else ''}",
        protocol="one folder per class",
        labels=labels,
        items=[printable(path) for path in paths],
        targets=one_hot(answers, len(labels)),
        truth=answers,
        read=_Reader(paths),
    )


def folder_parts(root: Path) -> frozenset[Split | None]:
    """The parts that lie there (None: classes without parts); empty where there are no folders."""
    return frozenset(_parts(root)) if _subfolders(root) else frozenset()


@dataclass(frozen=True, eq=False)
class _Reader:
    paths: Sequence[Path]

    def __call__(self, i: int) -> ImageArray:
        return load_image(self.paths[i])


def _parts(root: Path) -> dict[Split | None, Path]:
    """The folders that hold classes: those of the parts, or the root itself."""
    folders = _subfolders(root)
    if not folders:
        raise DataError(f"{printable(root)}: no folders in it; expected one for each class")
    splits = {name: _SPLITS[name.lower()] for name in folders if name.lower() in _SPLITS}
    # A person may be called Val; a set of parts has a training part, or nothing but parts.
    if "train" not in splits.values() and len(splits) < len(folders):
        return {None: root}
    found: dict[Split | None, Path] = {}
    for name, split in splits.items():
        if split in found:
            raise DataError(f"{printable(folders[name])}: {printable(found[split])} is the {split} part already")
        found[split] = folders[name]
    return found


def _classes(part: Path, task: Task) -> dict[str, Path]:
    """The classes of a part: label -> folder, in natural order of the labels."""
    found: dict[str, Path] = {}
    for name, folder in _subfolders(part).items():
        label = expression_named(name) if task == "expression" else name
        if label in found:
            raise DataError(f"{printable(folder)}: {label} is {printable(found[label])} already; put them together")
        found[label] = folder
    if not found:
        raise DataError(f"{printable(part)}: no folders in it; expected one for each class")
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))


def _subfolders(folder: Path) -> dict[str, Path]:
    """The folders in a folder, hidden ones left out; links to folders count."""
    names = [name for name in listed(folder) if not name.startswith(".") and name != _LEFT_BY_ARCHIVERS]
    return {name: folder / name for name in sorted(names, key=natural_key) if _is_folder(folder / name)}


def _is_folder(path: Path) -> bool:
    """Whether it is one; raises where nobody knows (`os.path.isdir` would leave a class out in silence)."""
    try:
        return S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if path.is_symlink():
            raise DataError(f"{printable(path)}: a link that leads nowhere; mend or remove it") from error
        raise DataError(f"{printable(path)}: cannot be read ({str(error.strerror).lower()})") from error


def _pictures(folder: Path) -> list[Path]:
    def unlisted(error: OSError) -> NoReturn:
        raise DataError(f"{printable(folder)}: the folder cannot be listed ({str(error.strerror).lower()})") from error

    pictures = list(list_images([folder], recursive=False, on_error=unlisted))
    if not pictures:
        raise DataError(f"{printable(folder)}: a class without pictures; add some or remove the folder")
    return pictures
