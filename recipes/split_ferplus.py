"""Set a tenth of FER+'s training part aside, for early stopping and calibration.

FER+'s own validation part then only reports. `python recipes/split_ferplus.py ferplus_train.zip fit.zip held.zip`. A picture's pixels choose its side, so that equal
pictures stay together and every run agrees.
"""

import csv
import io
import sys
import zipfile
from hashlib import sha256
from pathlib import PurePosixPath

import numpy as np
from PIL import Image


def held(picture: bytes) -> bool:
    """Whether a picture is one of the tenth."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    return int(sha256(pixels.tobytes()).hexdigest()[:8], 16) % 10 == 0


def main(source: str, fit_path: str, held_path: str) -> None:
    """Write both parts in FER+'s own layout."""
    with (
        zipfile.ZipFile(source) as archive,
        zipfile.ZipFile(fit_path, "w") as fit,
        zipfile.ZipFile(held_path, "w") as aside,
    ):
        table = next(name for name in archive.namelist() if name.endswith("label.csv"))
        folder = PurePosixPath(table).parent
        rows: dict[zipfile.ZipFile, list[list[str]]] = {fit: [], aside: []}
        for row in csv.reader(io.StringIO(archive.read(table).decode())):
            picture = archive.read(str(folder / row[0]))
            part = aside if held(picture) else fit
            part.writestr(f"FER2013Train/{row[0]}", picture)
            rows[part].append(row)
        for part, lines in rows.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(lines)
            part.writestr("FER2013Train/label.csv", text.getvalue())
        print(f"{len(rows[fit])} pictures to learn from, {len(rows[aside])} set aside")


if __name__ == "__main__":
    main(*sys.argv[1:])
