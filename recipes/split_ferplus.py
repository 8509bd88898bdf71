"""Set a tenth of FER+'s training part aside, for early stopping and calibration; its validation part then only reports.

`python recipes/split_ferplus.py ferplus_train.zip ferplus_valid.zip fit.zip held.zip`. A picture's pixels choose its
side, so that equal pictures stay together and every run agrees. Pictures that the validation part has too (279 of its
3,579 are in the training part, pixel by pixel) go to neither side.
"""

import csv
import io
import sys
import zipfile
from hashlib import sha256
from pathlib import PurePosixPath

import numpy as np
from PIL import Image


def digest(picture: bytes) -> str:
    """SHA-256 of a picture's pixels."""
    return sha256(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).tobytes()).hexdigest()


def pictures(path: str) -> set[str]:
    """The digests of all pictures of a part."""
    with zipfile.ZipFile(path) as archive:
        return {digest(archive.read(name)) for name in archive.namelist() if name.endswith(".png")}


def main(source: str, validation: str, fit_path: str, held_path: str) -> None:
    """Write both parts in FER+'s own layout."""
    reported = pictures(validation)
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
            found = digest(picture)
            if found in reported:
                continue
            part = aside if int(found[:8], 16) % 10 == 0 else fit
            part.writestr(f"FER2013Train/{row[0]}", picture)
            rows[part].append(row)
        for part, lines in rows.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(lines)
            part.writestr("FER2013Train/label.csv", text.getvalue())
        print(f"{len(rows[fit])} pictures to learn from, {len(rows[aside])} set aside")


if __name__ == "__main__":
    main(*sys.argv[1:])
