"""How often somebody who comes back is known, and a stranger taken for somebody: the rule of mien.video.appearance.

    python recipes/video_reid.py LFW_FOLDER

Single pictures of lfw_dev stand for looks: one of each person is remembered, another one comes back, and people of whom
there is one picture are strangers. Harder than video, where looks are of one day and there are several of each person.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien import FaceAnalyzer, load_image
from mien.video.appearance import Likeness, Look, Looks, needed

KNOWN, STRANGERS = 220, 200


def look_at(analyzer: FaceAnalyzer, path: Path) -> Look | None:
    """The face nearest to the centre of a picture."""
    image = load_image(path)
    faces = analyzer(image)
    if not len(faces) or faces.embeddings is None or faces.qualities is None:
        return None
    middle = np.array(image.shape[1::-1]) / 2
    i = int(np.linalg.norm((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - middle, axis=1).argmin())
    return Look(faces.embeddings[i], float(faces.qualities.score[i]), 0.0)


def looks_at(analyzer: FaceAnalyzer, folders: Sequence[Path], each: int) -> list[list[Look]]:
    found = [[look_at(analyzer, path) for path in sorted(folder.iterdir())[:each]] for folder in folders]
    return [[look for look in looks if look is not None] for looks in found if None not in looks]


def rates(likeness: Likeness, known: list[list[Look]], strangers: list[list[Look]], people: int) -> dict[str, float]:
    """Of draws of so many remembered people."""
    rng = np.random.default_rng(people)
    right = wrong = asked = false = others = 0
    for _ in range(max(1, 400 // people)):
        chosen = rng.choice(len(known), people, replace=False)
        past = [[known[i][0]] for i in chosen]
        enough = needed([Looks(looks) for looks in past])
        for place, i in enumerate(chosen[:20]):
            evidence = likeness.evidence(known[i][1], past)
            best = int(evidence.argmax())
            asked += 1
            right += evidence[best] >= enough and best == place
            wrong += evidence[best] >= enough and best != place
        for i in rng.choice(len(strangers), 20, replace=False):
            others += 1
            false += likeness.evidence(strangers[i][0], past).max() >= enough
    return {"known_again": right / asked, "as_somebody_else": wrong / asked, "strangers_taken": false / others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path, help="folder of NAME/NAME_0001.jpg")
    folders = sorted(path for path in parser.parse_args().lfw.iterdir() if path.is_dir())
    counts = {folder: len(list(folder.iterdir())) for folder in folders}
    rng = np.random.default_rng(1)
    several = [folder for folder in folders if counts[folder] > 1]
    single = [folder for folder in folders if counts[folder] == 1]
    analyzer = FaceAnalyzer(threads=1, only=("detect", "embed", "quality"))
    known = looks_at(analyzer, [several[i] for i in rng.choice(len(several), KNOWN, replace=False)], 2)
    strangers = looks_at(analyzer, [single[i] for i in rng.choice(len(single), STRANGERS, replace=False)], 1)
    likeness = Likeness(analyzer.embedder)
    print(json.dumps({people: rates(likeness, known, strangers, people) for people in (2, 10, 50, 200)}, indent=2))


if __name__ == "__main__":
    main()
