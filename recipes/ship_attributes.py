"""Puts a trained network for age and gender into the package: measures it, writes its card, and both files in place.

    python recipes/ship_attributes.py runs/mien-age/model.onnx utk/valid.zip > groups.md

The figures, printed as the table of docs/attributes.md, are on the part that chose nothing (recipes/split_utkface.py).
"""

import sys
from dataclasses import replace
from pathlib import Path

from mien.cli.options import face_cut
from mien.datasets.attributes import open_attributes
from mien.evaluation.attributes import COLUMNS, evaluate_attributes, rows
from mien.evaluation.report_pages import markdown_table
from mien.models.attributes import SHIPPED, AttributesNetwork
from mien.models.cards import embed_card, write_card_beside
from mien.models.trained import WEIGHTS
from mien.ops.atomic import write_whole

ABOUT = {
    "name": SHIPPED,
    "summary": "says how old faces look, and how their gender is perceived",
    "licence": "UTKFace's: non-commercial research only",
    "commercial_use": False,
    "training_data": (
        "UTKFace, part 1 (7,830 pictures from the web, ages partly estimated by an algorithm and checked by people); a"
        " fifth and a tenth set aside by groups of like faces (recipes/split_utkface.py). Started from dlib's face"
        " recognition network (about 3 million faces)"
    ),
    "calibration": "621 pictures of UTKFace that were set aside",
    "limits": (
        "Says how old a face looks and how its gender is perceived, not what either is; two genders, as the data have"
        " it. Not for deciding about people, and not for checking who is of age: its errors are larger than such a"
        " check allows. Gender of small children is hardly better than chance. Errors differ between groups, see the"
        " figures by group. Weak on faces under about 40 pixels, in profile, or half hidden."
    ),
    "origin": "trained by this project: recipes/attributes.md",
}
DATA = "UTKFace, a fifth that chose nothing"


def main(model: Path, valid: Path) -> None:
    """Measure, write the card, and put both files in place."""
    data = model.read_bytes()
    network = AttributesNetwork(data)
    crop = network.card.crop
    report = evaluate_attributes(open_attributes(valid), network, cut=face_cut(crop.size, crop.template))
    card = replace(network.card, **ABOUT, metrics={DATA: report.summary()})
    target = WEIGHTS / f"{card.name}.onnx"
    write_whole(target, embed_card(data, card))
    write_card_beside(target, card)
    print(markdown_table(COLUMNS, rows(report)))
    print(report.to_dict() | {"by": "above"}, file=sys.stderr)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
