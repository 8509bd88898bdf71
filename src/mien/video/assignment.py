"""The cheapest way to pair tracks with detections, exactly.

Shortest augmenting paths with dual prices (Jonker and Volgenant 1987). Own code, because the pairs of a frame fall
apart into groups of a few faces that could be one another, and scipy, which has this function, weighs more than all the
rest of mien.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def assign(costs: Floats) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once, at the lowest sum of costs.

    Args:
        costs: (N, M) float64, below 0 for what is better than leaving both alone; what is 0 or more is never paired.
            inf: cannot be.

    Returns:
        (row, column) pairs, in order of rows.
    """
    gains = np.where(np.isfinite(costs) & (costs < 0), costs, 0.0)
    if not gains.any():
        return []
    if gains.shape[0] > gains.shape[1]:
        return sorted((row, column) for column, row in assign(np.ascontiguousarray(gains.T)))
    return [(row, column) for row, column in enumerate(_solved(gains)) if gains[row, column] < 0]


def _solved(costs: Floats) -> list[int]:
    """For each row its column, of (N, M) costs with N <= M, every row paired."""
    rows, columns = costs.shape
    row_of = np.full(columns + 1, -1)  # the last column is where each new row starts from
    prices_row, prices_column = np.zeros(rows), np.zeros(columns + 1)
    for row in range(rows):
        column = columns
        row_of[column] = row
        least, came_from = np.full(columns, np.inf), np.full(columns, -1)
        done = np.zeros(columns + 1, dtype=np.bool_)
        while row_of[column] != -1:
            done[column] = True
            here, open_ = row_of[column], ~done[:-1]
            reduced = costs[here] - prices_row[here] - prices_column[:-1]
            better = open_ & (reduced < least)
            least[better], came_from[better] = reduced[better], column
            following = int(np.argmin(np.where(open_, least, np.inf)))
            step = least[following]
            prices_row[row_of[done]] += step
            prices_column[done] -= step
            least[open_] -= step
            column = following
        while column != columns:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
    found = [0] * rows
    for column, owner in enumerate(row_of[:-1]):
        if owner != -1:
            found[owner] = column
    return found
