"""Many files, several at a time: read in threads, analysed in small batches, answered in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike, fspath

from mien.errors import MienError
from mien.ops.image import load_image
from mien.types import Faces, ImageArray

Analyse = Callable[[Sequence[ImageArray]], list[Faces]]
GROUP = 4
"""Pictures that share a pass through the networks, at most: more gain little (recipes/LOG.md)."""
_PIXELS = 16_000_000  # of such pictures together: large ones would fill the memory, and gain nothing
_AHEAD = 2  # groups for each worker that are given out ahead of the answers


@dataclass(frozen=True)
class FileResult:
    """What became of one file of a run over many.

    Attributes:
        path: as given.
        faces: the faces, or None where the file failed.
        error: why it failed, or None.
        image: (H, W, 3) uint8 RGB, where it was asked to be kept.
    """

    path: str
    faces: Faces | None = None
    error: MienError | None = None
    image: ImageArray | None = None


def in_order(
    paths: Iterable[str | PathLike[str]], analyse: Analyse, *, workers: int, keep_images: bool
) -> Iterator[FileResult]:
    """Analyse files in threads; close the iterator to stop early.

    Args:
        paths: of pictures.
        analyse: pictures to the faces of each; called by all threads at once.
        workers: threads.
        keep_images: whether results carry the picture; then pictures go one by one, as few are to be in memory.

    Returns:
        An iterator over a result per path, in the order given.
    """
    most = 1 if keep_images else GROUP
    left, ahead = (fspath(path) for path in paths), deque[str]()
    running: deque[Future[list[FileResult]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mien")
    try:
        while True:
            ahead.extend(islice(left, _AHEAD * workers * most - len(ahead)))
            if not ahead:
                break
            size = max(1, len(ahead) // (_AHEAD * workers))  # smaller towards the end, so that no thread is idle
            group = [ahead.popleft() for _ in range(size)]
            running.append(pool.submit(_results, group, analyse, keep_images=keep_images))
            if len(running) >= _AHEAD * workers:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(paths: Sequence[str], analyse: Analyse, *, keep_images: bool) -> list[FileResult]:
    results: list[FileResult] = []
    waiting: list[tuple[str, ImageArray]] = []

    def flush() -> None:
        results.extend(_analysed(waiting, analyse, keep_images=keep_images))
        waiting.clear()

    for path in paths:
        try:
            image = load_image(path)
        except MienError as error:
            flush()
            results.append(FileResult(path, error=error))
            continue
        if _size(waiting) + image.shape[0] * image.shape[1] > _PIXELS:
            flush()
        waiting.append((path, image))
    flush()
    return results


def _analysed(
    pictures: Sequence[tuple[str, ImageArray]], analyse: Analyse, *, keep_images: bool
) -> Iterator[FileResult]:
    """One batch; where that fails, one by one, so that one picture does not spoil the others."""
    if not pictures:
        return
    try:
        answers = analyse([image for _, image in pictures])
    except MienError as error:
        if len(pictures) == 1:
            yield FileResult(pictures[0][0], error=error)
        else:
            for picture in pictures:
                yield from _analysed([picture], analyse, keep_images=keep_images)
        return
    for (path, image), faces in zip(pictures, answers, strict=True):
        yield FileResult(path, faces=faces, image=image if keep_images else None)


def _size(pictures: Sequence[tuple[str, ImageArray]]) -> int:
    return sum(image.shape[0] * image.shape[1] for _, image in pictures)
