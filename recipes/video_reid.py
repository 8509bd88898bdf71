"""How often somebody who comes back is known, and a stranger taken for somebody: the rule of mien.video.appearance.

    python recipes/video_reid.py LFW_FOLDER [--looks 3 [--blur 4]]

Single pictures of lfw_dev stand for looks: one of each person is remembered, another one comes back, and people of whom
there is one picture are strangers. Harder than video, where looks are of one day and there are several of each person.

With --looks 3, three pictures are remembered and three come back, one after the other as in a video, and strangers have
three as well; beside it, what uniting tracks by the means of all their looks would do. --blur 4 makes all pictures
poor, by a Gaussian of so many pixels.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mien import FaceAnalyzer, load_image
from mien.models.embedding import FaceEmbedder
from mien.types import FloatArray
from mien.video.appearance import Likeness, Look, Looks, needed

KNOWN, STRANGERS, TRACKS = 220, 200, 110


def look_at(analyzer: FaceAnalyzer, path: Path, blur: float = 0.0) -> Look | None:
    """The face nearest to the centre of a picture."""
    image = load_image(path)
    if blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), dtype=np.uint8)
    faces = analyzer(image)
    if not len(faces) or faces.embeddings is None or faces.qualities is None:
        return None
    middle = np.array(image.shape[1::-1]) / 2
    i = int(np.linalg.norm((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 - middle, axis=1).argmin())
    return Look(faces.embeddings[i], float(faces.qualities.score[i]), 0.0)


def looks_at(analyzer: FaceAnalyzer, folders: Sequence[Path], each: int, blur: float = 0.0) -> list[list[Look]]:
    found = [[look_at(analyzer, path, blur) for path in sorted(folder.iterdir())[:each]] for folder in folders]
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


Rule = Callable[[list[list[Look]], list[Look]], int | None]
"""Looks at people who are gone, and looks at somebody new, to who that is."""


def one_by_one(likeness: Likeness) -> Rule:
    """As the tracker does: the first look that says enough."""

    def rule(past: list[list[Look]], looks: list[Look]) -> int | None:
        enough = needed(Looks(held) for held in past)
        for look in looks:
            evidence = likeness.evidence(look, past)
            if evidence.max() >= enough:
                return int(evidence.argmax())
        return None

    return rule


def all_together(embedder: FaceEmbedder) -> Rule:
    """By the means of all looks, weighed by quality, at twenty to one over all pairs of tracks."""
    slope, intercept = embedder.calibration.logistic

    def mean(looks: list[Look]) -> tuple[FloatArray, float]:
        weights = np.array([look.quality for look in looks]) + 1e-3
        average = np.average([look.embedding for look in looks], axis=0, weights=weights)
        return average.astype(np.float32), float(weights.mean())

    def rule(past: list[list[Look]], looks: list[Look]) -> int | None:
        means = [mean(held) for held in past]
        embedding, weight = mean(looks)
        similarities = embedder.similarity(embedding, np.stack([average for average, _ in means]))
        evidence = np.minimum(weight, [w for _, w in means]) * (slope * similarities + intercept)
        return int(evidence.argmax()) if evidence.max() >= 3 + math.log(len(past) ** 2) else None

    return rule


def of_tracks(rule: Rule, tracks: list[list[Look]], people: int, looks: int) -> dict[str, float]:
    """Of draws of so many remembered people out of all, and of 20 of the others."""
    rng = np.random.default_rng(people)
    right = wrong = asked = false = others = 0
    for _ in range(max(1, 600 // people)):
        chosen = rng.permutation(len(tracks))[: people + 20]
        past = [tracks[i][:looks] for i in chosen[:people]]
        for place, i in enumerate(chosen):
            if 20 <= place < people:
                continue
            said = rule(past, tracks[i][looks:])
            if place < people:
                asked, right, wrong = asked + 1, right + (said == place), wrong + (said not in (None, place))
            else:
                others, false = others + 1, false + (said is not None)
    return {"known_again": right / asked, "as_somebody_else": wrong / asked, "strangers_taken": false / others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path, help="folder of NAME/NAME_0001.jpg")
    parser.add_argument("--looks", type=int, default=1)
    parser.add_argument("--blur", type=float, default=0.0)
    options = parser.parse_args()
    folders = sorted(path for path in options.lfw.iterdir() if path.is_dir())
    counts = {folder: len(list(folder.iterdir())) for folder in folders}
    rng = np.random.default_rng(1)
    several = [folder for folder in folders if counts[folder] > 1]
    single = [folder for folder in folders if counts[folder] == 1]
    analyzer = FaceAnalyzer(threads=1, only=("detect", "embed", "quality"))
    if options.looks > 1 or options.blur:
        many = [folder for folder in folders if counts[folder] >= 2 * options.looks]
        chosen = [many[i] for i in rng.permutation(len(many))[:TRACKS]]
        tracks = looks_at(analyzer, chosen, 2 * options.looks, options.blur)
        rules = {"one_by_one": one_by_one(Likeness(analyzer.embedder)), "together": all_together(analyzer.embedder)}
        told = {
            name: {people: of_tracks(rule, tracks, people, options.looks) for people in (2, 10, 50)}
            for name, rule in rules.items()
        }
        print(json.dumps({"tracks": len(tracks), **told}, indent=2))
        return
    known = looks_at(analyzer, [several[i] for i in rng.choice(len(several), KNOWN, replace=False)], 2)
    strangers = looks_at(analyzer, [single[i] for i in rng.choice(len(single), STRANGERS, replace=False)], 1)
    likeness = Likeness(analyzer.embedder)
    print(json.dumps({people: rates(likeness, known, strangers, people) for people in (2, 10, 50, 200)}, indent=2))


if __name__ == "__main__":
    main()
