"""What could not be read of a source, counted and told in sentences."""

from __future__ import annotations

from threading import Lock

__all__ = ["Losses"]

_MOST_SENTENCES = 20


class Losses:
    """Gathers losses; bounded, however long a source runs. Can be shared by threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, str], tuple[int, float | None]] = {}
        self._sentences: list[str] = []
        self._left_out = 0

    def count(self, one: str, many: str, time: float | None = None) -> None:
        """Count one more loss of a kind.

        Args:
            one: the sentence for a single one.
            many: the sentence for several, with `{n}` in it.
            time: seconds into the source; the first is told.
        """
        with self._lock:
            n, first = self._counts.get((one, many), (0, time))
            self._counts[one, many] = (n + 1, first)

    def tell(self, sentence: str) -> None:
        """Add a sentence; beyond twenty they are only counted."""
        with self._lock:
            if len(self._sentences) < _MOST_SENTENCES:
                self._sentences.append(sentence)
            else:
                self._left_out += 1

    def sentences(self) -> tuple[str, ...]:
        """All that was lost until now."""
        with self._lock:
            counted = [_counted(*kind, *count) for kind, count in self._counts.items()]
            left_out = [f"and {self._left_out} more of the like"] if self._left_out else []
            return (*counted, *self._sentences, *left_out)


def _counted(one: str, many: str, n: int, first: float | None) -> str:
    text = one if n == 1 else many.format(n=f"{n:,}")
    if first is None:
        return text
    first = max(0.0, first)
    return f"{text} (at {first:.1f} s)" if n == 1 else f"{text} (the first at {first:.1f} s)"
