"""Rows of a csv file, one after the other, with errors that name the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from mien.errors import DataError

_LONGEST_LINE = 1 << 20  # bytes; a row of FER2013 has about 9,000


def read_rows(file: BinaryIO, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a comma-separated table in UTF-8, as (line, fields); empty lines are left out.

    Holds one line at a time, and no line is longer than 1 MiB, so a file of any size can be read.

    Args:
        file: read from where it stands.
        name: of the file, for messages.

    Raises:
        DataError: not such a table, or it cannot be read.
    """
    reader = csv.reader(_lines(file, name), strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}, line {reader.line_num}: not a row of a csv table ({error})") from error
        if len(row) > 1 or any(field.strip() for field in row):
            yield reader.line_num, row


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    encoding, number = "utf-8-sig", 0
    while line := _next_line(file, name):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise DataError(f"{name}, line {number}: longer than any row of a table; is it a csv file?")
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise DataError(f"{name}, line {number}: not UTF-8 text; save the table as UTF-8") from error
        encoding = "utf-8"  # only the first line may begin with a byte order mark


def _next_line(file: BinaryIO, name: str) -> bytes:
    try:
        return file.readline(_LONGEST_LINE + 1)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({str(error.strerror or error).lower()})") from error
