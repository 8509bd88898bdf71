"""Put a trained expression network into the package: measured on FER+'s validation part, with its card.

`python recipes/ship_expression.py runs/mien-s/model.onnx ferplus_valid.zip` writes src/mien/models/weights/mien-s.onnx
and mien-s.json. Nothing is chosen here: temperature and threshold are the run's own.
"""

import sys
from dataclasses import replace
from pathlib import Path

from mien.datasets import open_image_set
from mien.evaluation.expression import evaluate_expression
from mien.models.cards import embed_card, write_card_beside
from mien.models.classifier import CropClassifier
from mien.training.reports import summary

WEIGHTS = Path("src/mien/models/weights")
ABOUT = {
    "name": "mien-s",
    "summary": "expression in eight classes, with calibrated confidences; trained by this project",
    "licence": (
        "Apache-2.0 for the weights; FER2013's pictures are for research, FER+'s labels MIT,"
        " the backbone (dlib's face recognition network) CC0"
    ),
    "commercial_use": False,
    "training_data": (
        "FER+ training part without the tenth set aside and without what the validation part repeats (25,530 pictures"
        " of 48 x 48 grey pixels from web searches of 2013, ten votes each); the network before it, which it goes on"
        " from and learns from, had seen 279 pictures of the validation part; started from dlib's face recognition"
        " network (about 3 million faces)"
    ),
    "calibration": "the tenth of FER+'s training part that was set aside: 2,297 pictures with a clear majority",
    "limits": (
        "Says what a face shows, not what a person feels; not for judging, diagnosing or deciding about people, nor for"
        " emotion recognition at work or in schools. Disgust and contempt are rare in the data and often missed."
        " Answers shift with age, gender and race (docs/expressions.md). Weak on faces under about 24 pixels, in"
        " profile, or half hidden."
    ),
    "origin": "trained by this project: recipes/expression.md",
}


def main(model: Path, validation: Path) -> None:
    """Measure, write the card, and put both files in place."""
    data = model.read_bytes()
    classifier = CropClassifier(data)
    report = evaluate_expression(open_image_set(validation), classifier)
    figures = summary(report) | {
        "balanced_accuracy": round(report.figures.balanced_accuracy, 4),
        "uncertain": round(report.figures.uncertain, 4),
        "accuracy_on_rest": round(report.figures.accuracy_on_rest, 4),
    }
    card = replace(classifier.card, **ABOUT, metrics={"FER+ validation (majority protocol)": figures})
    WEIGHTS.mkdir(exist_ok=True)
    target = WEIGHTS / f"{card.name}.onnx"
    target.write_bytes(embed_card(data, card))
    write_card_beside(target, card)
    print({name: value for name, value in figures.items() if name != "per_class"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
