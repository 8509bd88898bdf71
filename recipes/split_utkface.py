"""Splits UTKFace so that nobody is in two parts, as far as faces can tell.

    python recipes/split_utkface.py utkface_train.zip FOLDER [FACES.npz]

FOLDER/valid.zip is a fifth, which figures are reported on and nothing is chosen by; FOLDER/held.zip a tenth of the
rest, which chooses the epoch and calibrates; FOLDER/fit.zip what is learnt from.

UTKFace names no people, and shows some more than once. Faces that are alike are put into one group (single linkage),
and the SHA-256 of a group's first name decides where all of it goes. "Alike" is a distance of 0.33 between embeddings
(strangers in LFW are never so near), for children under ten 0.22: small children look alike to the embedder, and at
0.32 a thousand of them would be one person. FACES.npz keeps the embeddings (4 minutes on one core).
"""

from __future__ import annotations

import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np

from mien import FaceAnalyzer, NoFaceError
from mien.datasets.attributes import AttributeSet, open_attributes

ALIKE, ALIKE_CHILDREN, GROWN = 0.33, 0.22, 10
PARTS = {"valid": 0.2, "held": 0.28, "fit": 1.0}  # where each ends, of the places that hashes give
Groups = np.ndarray


def embeddings(pictures: AttributeSet) -> np.ndarray:
    """(N, 128) float32; NaN where no face is found."""
    analyzer = FaceAnalyzer(only=("detect", "embed"))
    found = np.full((len(pictures), 128), np.nan, np.float32)
    for i in range(len(pictures)):
        try:
            found[i] = analyzer.largest_face(pictures.read(i)).embeddings[0]
        except NoFaceError:
            continue
        if i % 500 == 0:
            print(f"{i} of {len(pictures)}", file=sys.stderr)
    return found


def groups(vectors: np.ndarray, limits: np.ndarray) -> Groups:
    """(N,) the first member of each picture's group: those nearer than the geometric mean of their limits are one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(vectors)
    squares = (vectors**2).sum(axis=1)
    pairs = []
    for start in range(0, n, 1000):
        block = slice(start, start + 1000)
        distance2 = squares[block, None] + squares - 2 * vectors[block] @ vectors.T
        i, j = np.nonzero(distance2 < limits[block, None] * limits)  # never true for NaN
        pairs.append(np.stack([i + start, j]))
    i, j = np.concatenate(pairs, axis=1)
    _, member = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    _, first = np.unique(member, return_index=True)
    return first[member]


def place(name: str) -> float:
    """Where in [0, 1) a name falls."""
    return int.from_bytes(sha256(f"validation {name}".encode()).digest()[:8], "big") / 2**64


def main(source: Path, folder: Path, faces: Path | None = None) -> None:
    """Write the parts."""
    pictures = open_attributes(source)
    if faces is not None and faces.exists():
        vectors = np.load(faces)["embeddings"]
    else:
        vectors = embeddings(pictures)
        if faces is not None:
            np.savez(faces, embeddings=vectors)
    group = groups(vectors, np.where(pictures.ages < GROWN, ALIKE_CHILDREN, ALIKE))
    names = [Path(item).name for item in pictures.items]
    ends = list(PARTS.values())
    parts = [list(PARTS)[np.searchsorted(ends, place(names[g]), side="right")] for g in group]
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive:
        for part in PARTS:
            with zipfile.ZipFile(folder / f"{part}.zip", "w") as out:
                for item, chosen in zip(pictures.items, parts, strict=True):
                    if chosen == part:
                        out.writestr(zipfile.ZipInfo(item), archive.read(item))
    counts = ", ".join(f"{part} {parts.count(part)}" for part in PARTS)
    print(f"{len(pictures)} pictures in {len(set(group))} groups: {counts}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
