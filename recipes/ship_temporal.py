"""Train the temporal networks, measure them on sequences of validation faces, and put the LSTM into the package.

    python recipes/ship_temporal.py fit.zip held.zip ferplus_valid.zip runs/temporal > table.md

`fit.zip` and `held.zip` are from recipes/split_ferplus.py. What is done is found again after an interruption; for
another expression network, take another folder. The table is that of docs/temporal.md; its picture is table.png in
that folder. Nothing is chosen on validation faces.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from mien.datasets import open_image_set
from mien.datasets.sequences import FacePool
from mien.evaluation.recording import record_sequences
from mien.evaluation.report_pages import markdown_table
from mien.evaluation.temporal import COLUMNS, evaluate_temporal, gain_lines, rows
from mien.evaluation.temporal_plots import plot_temporal
from mien.models import registry
from mien.models.base import RuntimeOptions
from mien.models.cards import embed_card, write_card_beside
from mien.models.expression import SHIPPED as EXPRESSIONS
from mien.models.store import WeightsStore
from mien.models.temporal import SHIPPED, opened
from mien.models.trained import WEIGHTS
from mien.ops.atomic import write_whole

ARCHITECTURES = ("lstm", "gru", "tcn")
ABOUT = {
    "name": SHIPPED,
    "summary": (
        "what a track shows over time, in eight expressions: three LSTMs side by side over the answers of mien-s"
    ),
    "licence": "Apache-2.0 for the weights; FER2013's pictures are for research, FER+'s labels MIT",
    "commercial_use": False,
    "limits": (
        "Learnt and measured on sequences made of still faces: onsets, holds and offsets are morphs between faces of"
        " different people who look alike, with made-up blur, light, trembling, hands and wrong frames. It has seen no"
        " video; how well it does on real ones is not known. Says what a face shows, not what a person feels; not for"
        " judging, diagnosing or deciding about people, nor for emotion recognition at work or in schools."
    ),
    "origin": "trained by this project: recipes/temporal.md",
}
SEQUENCES, SEED = 300, 3
LEARNT_FROM = ("--sequences", "2400", "--held-sequences", "800", "--epochs", "9")


def main(fit: Path, held: Path, valid: Path, runs: Path, *more: str) -> None:
    """Train what is not trained yet, measure, write the card, and put both files in place."""
    runs.mkdir(parents=True, exist_ok=True)
    for architecture in ARCHITECTURES:
        train(fit, held, runs, architecture, more)
    store, one = WeightsStore(), RuntimeOptions(threads=1)
    expression = registry.entry(EXPRESSIONS, "expression")
    pool = FacePool(open_image_set(valid))
    tracks = record_sequences(
        pool,
        registry.load_classifier(EXPRESSIONS, store, one),
        SEQUENCES,
        SEED,
        classifier_sha256=expression.record.weights.sha256,
        keep=runs / "tracks",
        progress=lambda done, total: print(f"validation: {done} of {total}", file=sys.stderr),
    )
    smoothers = {name: opened(runs / name / "model.onnx", one) for name in ARCHITECTURES}
    card = smoothers["lstm"].network.card
    others = {"moving average": card.moving_average(), "GRU": smoothers["gru"], "convolution": smoothers["tcn"]}
    report = evaluate_temporal(tracks, smoothers["lstm"], others, name="LSTM")
    card = replace(
        card,
        **ABOUT,
        training_data=f"{card.training_data}; sequences made of FER+ training faces that the validation part has not",
        metrics={"sequences made of FER+ validation faces": report.summary()},
    )
    target = WEIGHTS / f"{card.name}.onnx"
    write_whole(target, embed_card((runs / "lstm" / "model.onnx").read_bytes(), card))
    write_card_beside(target, card)
    write_whole(runs / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    plot_temporal(report, runs / "table.png")
    print(markdown_table(COLUMNS, rows(report)))
    print("\n".join(gain_lines(report)), file=sys.stderr)


def train(fit: Path, held: Path, runs: Path, architecture: str, more: tuple[str, ...]) -> None:
    """One network, gone on with where it was begun; `more` goes to the command."""
    out = runs / architecture
    command = [sys.executable, "-m", "mien", "train", "temporal", fit, "--validation", held, "--out", out]
    command += ["--architecture", architecture, "--tracks", runs / "tracks", "--name", SHIPPED, "--threads", "1"]
    command += LEARNT_FROM
    if (out / "checkpoint.pt").exists():
        command.append("--resume")
    subprocess.run([*map(str, command), *more], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]), *sys.argv[5:])
