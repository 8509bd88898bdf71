"""Liveness on simulated people and scripted attacks: APCER and BPCER as docs/liveness.md has them.

    python recipes/liveness.py people --data ../shared/data --cache DIR     # photographs that can be animated
    python recipes/liveness.py clips --cache DIR                            # films them; what networks see in them
    python recipes/liveness.py attacks --cache DIR                          # the same of attacks
    python recipes/liveness.py trials --cache DIR                           # 200 random attempts of each kind
    python recipes/liveness.py pixels --cache DIR                           # a few attempts from pixels, end to end
    python recipes/liveness.py signs --data ../shared/data --cache DIR      # passive signs on real photographs

`people` and `clips` go on where they were interrupted. Clips are seen by the real networks once; a trial puts clips one
behind the other as the judge asks, so that 200 trials of twenty kinds take minutes. What a trial cannot show, since its
frames are cut together, is the tracker's work: all frames carry the same track number, which favours attacks.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.liveness import filming, staging, trials
from tests.liveness.acting import WIDTH, Actor, Face, Manner, Shown, act, camera

from mien import FaceAnalyzer, load_image
from mien.liveness.challenge import ACTIONS
from mien.liveness.guards import Limits
from mien.liveness.levels import baseline_of, levels
from mien.liveness.observing import TASKS, observe
from mien.liveness.session import Trial, limits_for, seeing_with
from mien.liveness.signs import look_for_signs
from mien.models import registry
from mien.ops.atomic import write_whole, written_whole

TRIALS = 200
PEOPLE = 16
LOOKED_AT = 5
"""Limits were set by looking at the first five; figures are of the others."""
SIGNS_LOOKED_AT = 100
"""Photographs by which limits of passive signs were set; figures are of others."""
say = sys.stdout.write


# --- Photographs


def find_people(data: Path, cache: Path) -> None:
    """people/N.npz: a picture at rest that can be animated, landmarks, embeddings of other pictures of the person."""
    folder = cache / "people"
    folder.mkdir(parents=True, exist_ok=True)
    analyzer = FaceAnalyzer(only=TASKS, size=256, threads=1).load()
    counts = Counter[str](json.loads((cache / "counts.json").read_text()) if (cache / "counts.json").exists() else {})
    done = set(json.loads((cache / "done.json").read_text())) if (cache / "done.json").exists() else set()
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        names = defaultdict(list)
        for path in sorted(archive.namelist()):
            if path.endswith(".jpg"):
                names[path.split("/")[-2]].append(path)
        for name in sorted(names):
            paths = names[name]
            if not 3 <= len(paths) <= 12 or name in done or len(list(folder.glob("*.npz"))) >= PEOPLE:
                continue
            images = [load_image(archive.read(path)) for path in paths[:6]]
            _add_person(analyzer, images, folder, counts)
            done.add(name)
            write_whole(cache / "done.json", json.dumps(sorted(done)))
            write_whole(cache / "counts.json", json.dumps(counts))
            say(f"{len(list(folder.glob('*.npz')))} people, {dict(counts)}\n")


def _add_person(analyzer: FaceAnalyzer, images: list[Any], folder: Path, counts: Counter[str]) -> None:
    seen = [analyzer(image) for image in images]
    faces = [found.largest() for found in seen]
    smiling = [i for i, f in enumerate(faces) if len(f) and _happy(f) > 0.8 and abs(f.poses.yaw[0]) < 15]
    for i, (image, face) in enumerate(zip(images, faces, strict=True)):
        others = [f.embeddings[0] for k, f in enumerate(faces) if k != i and len(f)]
        if len(others) < 2 or len(seen[i]) > 1 or not _calm(face):
            continue
        counts["calm"] += 1
        actor = Actor(image, face.landmarks[0])
        shows = _shows(analyzer, actor)
        counts.update(shows)
        if len(shows) < len(ACTIONS):
            continue
        counts["all"] += 1
        smile = (
            Actor(images[smiling[0]], faces[smiling[0]].landmarks[0]).photo
            if smiling
            else actor.render(Face(smile=1.1))
        )
        n = len(list(folder.glob("*.npz")))
        with written_whole(folder / f"{n:03}.npz") as path, path.open("wb") as file:
            np.savez(
                file,
                image=image,
                landmarks=face.landmarks[0],
                others=np.stack(others),
                smiling=smile,
                real=bool(smiling),
            )
        return


def _happy(face: Any) -> float:
    return float(face.expressions.scores[0, face.expressions.labels.index("happiness")])


def _calm(face: Any) -> bool:
    return (
        len(face) == 1 and _happy(face) < 0.4 and face.mouths.open[0] < 0.4 and abs(face.poses.yaw[0]) < 10
        and abs(face.poses.roll[0]) < 12 and min(face.eyes.left[0], face.eyes.right[0]) > 0.8
        and face.qualities.score[0] > 0.85 and not face.qualities.advice[0]
    )  # fmt: skip


def _shows(analyzer: FaceAnalyzer, actor: Actor) -> list[str]:
    """The actions that networks see in this photograph when it does them."""
    watcher = _StillWatcher(analyzer)
    rest = watcher(actor.render(Face()))
    if rest is None:
        return []
    baseline = baseline_of([rest])
    seen = []
    for action in ACTIONS:
        look = watcher(actor.render(act(action, 1.0, Manner(1e-9, 99.0))))
        if look is not None and levels(look, baseline)[action] >= 1.0:
            seen.append(action)
    return seen


class _StillWatcher:
    def __init__(self, analyzer: FaceAnalyzer) -> None:
        self._analyzer = analyzer

    def __call__(self, image: Any) -> Any:
        faces = self._analyzer(image)
        there = np.ones(len(faces), np.bool_)
        moment = filming.SimpleNamespace(faces=faces, seen=there, ids=there.astype(np.int64), embedded=there)
        return observe(filming.SimpleNamespace(time=0.0, image=image), moment).look


# --- Clips


def film(cache: Path, *, attacks: bool, only: str | None) -> None:
    """clips/N/NAME.npz: every person, or every attack on some of them; `only`: numbers, separated by commas."""
    watcher = filming.Watcher()
    people = sorted((cache / "people").glob("*.npz"))
    chosen = [int(number) for number in only.split(",")] if only else range(LOOKED_AT, PEOPLE)
    for n in chosen:
        path = people[n]
        with np.load(path) as kept:
            actor = Actor(kept["image"], kept["landmarks"])
            smiling = kept["smiling"]
        for name, pictures in _attacks(actor, smiling, n, people) if attacks else filming.film_person(actor, n):
            _watch(watcher, cache / "clips" / path.stem, name, pictures)
        say(f"{path.stem}\n")
        sys.stdout.flush()


def _attacks(actor: Actor, smiling: Any, n: int, people: list[Path]) -> Any:
    """Names and films; rendering is cheap beside seeing."""
    with np.load(people[(n + 1) % len(people)]) as kept:
        room = Actor(kept["image"], kept["landmarks"]).photo[::-1]
    prints = filming.Prints(actor, smiling, room)
    yield from filming.film_attacks(prints, 1000 + n)
    random = np.random.default_rng(2000 + n)
    alive = dict(filming.film_person(actor, n))
    for name, pictures in alive.items():
        yield f"screen/{name}", filming.on_screen(pictures[:40], room, random)
    yield from filming.film_album(prints, 3000 + n)
    yield from filming.film_loops(alive["idle"], room, 4000 + n)


def _watch(watcher: Any, folder: Path, name: str, pictures: Any) -> None:
    path = folder / f"{name}.npz"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = filming.to_arrays(watcher.watch(pictures))
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


# --- Passive signs


def look_at_signs(data: Path, cache: Path, n: int) -> None:
    """signs.json: what is seen in photographs, and in the same shown as prints and on screens, to the edge and not."""
    analyzer = FaceAnalyzer(only=("detect",), size=256, threads=1).load()
    random = np.random.default_rng(0)
    rows = defaultdict(list)
    with zipfile.ZipFile(data / "lfw_dev.zip") as archive:
        paths = sorted(path for path in archive.namelist() if path.endswith(".jpg"))
        order = random.permutation(len(paths))[SIGNS_LOOKED_AT:]
        chosen = [paths[i] for i in order[: n + 1]]
        images = [load_image(archive.read(path)) for path in chosen]
    for image, room in pairwise(images):
        face = analyzer(image).largest()
        if not len(face):
            continue
        photo = Actor(image, face.landmarks[0]).photo
        shown = {"print": Shown(room_of(room)), "screen": Shown(room_of(room), screen=True)}
        shown["screen, rim out of sight"] = Shown(room_of(room), screen=True, size=1.2)
        pictures = {"photograph": camera(photo.astype(np.float64), random)}
        pictures.update({name: camera(show(photo), random) for name, show in shown.items()})
        for name, picture in pictures.items():
            found = analyzer(picture).largest()
            if len(found):
                grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
                signs = look_for_signs(grey, found.landmarks[0])
                rows[name].append((signs.moire, signs.sides))
    told = {}
    for name, values in rows.items():
        moire, sides = np.array(values).T
        quantiles = np.quantile(moire, (0.01, 0.05, 0.5, 0.95, 0.99, 1))
        shares = np.bincount(sides.astype(int), minlength=5) / len(sides)
        told[name] = {"n": len(values), "moire": quantiles.round(2).tolist(), "sides": shares.round(4).tolist()}
        say(f"{name:26} n {len(values)} moire {told[name]['moire']} sides {told[name]['sides']}\n")
    write_whole(cache / "signs.json", json.dumps(told, indent=1))


def room_of(image: Any) -> Any:
    return cv2.resize(image, (WIDTH, WIDTH))


# --- From pixels


def play_from_pixels(cache: Path, only: str | None) -> None:
    """pixels.jsonl: attempts with the real tracker, rendered as the judge asks; goes on where it was interrupted."""
    kept = cache / "pixels.jsonl"
    done = {tuple(json.loads(line)[:2]) for line in kept.read_text().splitlines()} if kept.exists() else set()
    analyzer = FaceAnalyzer(only=TASKS, size=WIDTH, threads=1).load()
    embedder = analyzer.embedder
    people = sorted((cache / "people").glob("*.npz"))
    for n in [int(number) for number in only.split(",")] if only else range(LOOKED_AT, PEOPLE):
        with np.load(people[n]) as found:
            actor = Actor(found["image"], found["landmarks"])
        room = actor.photo[::-1]
        scenes = {
            "genuine": staging.Alive(actor, n),
            "print tilted, no passive signs": staging.Tilted(actor, Shown(room), n),
            "screen, every action": staging.Displayed(staging.Alive(actor, n), Shown(room, screen=True), n),
        }
        for kind, scene in scenes.items():
            if (kind, n) in done:
                continue
            asked = trials.random_challenge(np.random.default_rng(n))
            limits = limits_for(embedder)
            if "no passive" in kind:
                limits = replace(limits, moire=np.inf, sides=9)
            trial = Trial(asked, seeing_with(analyzer), lambda a, b: float(embedder.similarity(a, b)), limits=limits)
            status = staging.stage(trial, scene)
            line = json.dumps([kind, n, status.reason, status.step, asked.actions])
            with kept.open("a") as file:
                file.write(line + "\n")
            say(line + "\n")
            sys.stdout.flush()


# --- Trials


def run_trials(cache: Path, *, n: int, only: str | None) -> None:
    """trials.json: how each kind fared; goes on where it was interrupted.

    Attacks that must be refused are judged without passive signs: these can only refuse more.
    """
    kept = cache / "trials.json"
    told = json.loads(kept.read_text()) if kept.exists() else {}
    alike = registry.records()["dlib-resnet"].calibrations["fast"].thresholds["1e-2"]  # as `limits_for` takes it
    everything = Limits(alike=alike)
    bare = replace(everything, moire=np.inf, sides=9)
    plan = [("genuine", everything), *((k, bare) for k in trials.ATTACKS)]
    plan += [(kind, limits) for kind in trials.HARD for limits in (bare, everything)]
    for kind, limits in plan:
        name = kind if limits is bare else f"{kind}, all guards"
        if name in told or (only is not None and only not in name):
            continue
        told[name] = row = trials.run(cache, kind, n=n, skip=LOOKED_AT, limits=limits)
        say(f"{name:32} accepted {row['accepted']:4} of {row['n']}, alive {row['live']:4} {row['reasons']}\n")
        sys.stdout.flush()
        write_whole(kept, json.dumps(told, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("people", "clips", "attacks", "trials", "pixels", "signs"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--n", type=int, default=TRIALS)
    parser.add_argument("--only")
    asked = parser.parse_args()
    if asked.what == "people":
        find_people(asked.data, asked.cache)
    elif asked.what in ("clips", "attacks"):
        film(asked.cache, attacks=asked.what == "attacks", only=asked.only)
    elif asked.what == "signs":
        look_at_signs(asked.data, asked.cache, asked.n)
    elif asked.what == "pixels":
        play_from_pixels(asked.cache, asked.only)
    elif asked.what == "trials":
        run_trials(asked.cache, n=asked.n, only=asked.only)


if __name__ == "__main__":
    main()
