"""How the answers of the shipped expression model are spread over age groups, genders and races.

UTKFace has no expression labels: this reports shifts between groups, which may be in the faces, in the pictures that
were chosen, or in the model; no accuracy. `python recipes/expression_groups.py utkface > groups.md`, where utkface is
the folder of AGE_GENDER_RACE_DATE.jpg.chip.jpg.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

import mien

AGES = ((0, 2), (3, 9), (10, 19), (20, 39), (40, 59), (60, 120))
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "other")


def groups_of(name: str) -> list[str] | None:
    """The groups that a file name puts its face in, or None where a field is missing."""
    fields = name.split("_")
    try:
        age, gender, race = (int(field) for field in fields[:3])
        low, high = next((low, high) for low, high in AGES if low <= age <= high)
        return ["all", f"age {low} to {high}", GENDERS[gender], RACES[race]]
    except (ValueError, IndexError, StopIteration):
        return None


def main(folder: Path) -> None:
    """Print a Markdown table."""
    files = sorted(folder.rglob("*.jpg"))
    analyzer = mien.FaceAnalyzer(only=("detect", "expression"))
    scores: dict[str, list[np.ndarray]] = defaultdict(list)
    sure: dict[str, list[bool]] = defaultdict(list)
    skipped = faceless = 0
    labels: tuple[str, ...] = ()
    for result in analyzer.files(files):
        groups = groups_of(Path(result.path).name)
        if groups is None or result.faces is None:
            skipped += 1
            continue
        found = result.faces.largest().expressions
        if found is None or not len(found.scores):
            faceless += 1
            continue
        labels = found.labels
        for group in groups:
            scores[group].append(found.scores[0])
            sure[group].append(float(found.confidence[0]) >= found.threshold)
    print(f"{len(files)} pictures; {skipped} without a readable name or picture, {faceless} with no face found.\n")
    print(f"| group | faces | {' | '.join(labels)} | uncertain |")
    print(f"|---|---:|{'---:|' * (len(labels) + 1)}")
    order = ["all", *(f"age {low} to {high}" for low, high in AGES), *GENDERS, *RACES]
    for group in order:
        if not scores[group]:
            continue
        answers = np.bincount(np.argmax(scores[group], axis=1), minlength=len(labels)) / len(scores[group])
        cells = " | ".join(f"{share:.1%}" for share in answers)
        print(f"| {group} | {len(scores[group]):,} | {cells} | {1 - np.mean(sure[group]):.1%} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
