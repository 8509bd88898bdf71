"""The file beside a gallery in which search keeps its vectors: where it is, and that nothing removed stays in it.

A gallery that is a file has one, PEOPLE.db-vectors, unless it is encrypted; see `vector_file`. Each process that
searches brings it up to date while it reads the gallery. So once a removal has waited for all who read the gallery
from before it (`Store.clean`), nobody writes what was removed into the file any more, and it can be cleared.
"""

from __future__ import annotations

import os
from pathlib import Path

from mien.errors import GalleryError
from mien.gallery.records import GalleryInfo
from mien.gallery.search.index import erase_cache
from mien.gallery.search.searching import Searcher
from mien.gallery.search.vector_file import FileTable, blank, blank_leftovers, graph_file
from mien.gallery.stores.opening import file_of
from mien.gallery.stores.protocol import Store
from mien.ops.files import printable


def cache_of(url: str) -> Path | None:
    """Where the vectors of a gallery are kept; None for one in a database, which keeps them itself."""
    path = file_of(url)
    if path is None or os.name == "nt":  # Windows lets no file be replaced that is mapped
        return None
    real = path.resolve()  # one file, whatever link it was opened by
    return real.with_name(f"{real.name}-vectors")


def erase(cache: Path) -> None:
    """Leave nothing of the file.

    Raises:
        GalleryError: it cannot be removed.
        GalleryBusyError: others have been writing to it for longer than we wait.
    """
    try:
        erase_cache(cache)
    except OSError as error:
        raise _stuck(cache, error) from error


def clear_removed(cache: Path, store: Store, info: GalleryInfo, searcher: Searcher | None) -> None:
    """Leave nothing in the file of what is not in the gallery any more; after `Store.clean`.

    Args:
        cache: the file, which need not exist.
        store: of the gallery.
        info: what the gallery was when it was opened.
        searcher: uses the file, and overwrites in it what was removed; None: it is erased instead.

    Raises:
        GalleryError: it cannot be cleared.
        GalleryBusyError: others have been writing to it for longer than we wait.
    """
    table = FileTable(cache, info.id, info.dimension, info.metric)
    try:
        blank(graph_file(cache))  # whoever searches it makes it anew
        if not cache.is_file():
            return
        with table.lock():
            blank_leftovers(cache)
        with store.read() as reader:
            same = (reader.info.embedder_sha256, reader.info.mode) == (info.embedder_sha256, info.mode)
            if same and searcher is not None:
                searcher.follow(reader)
            kept = same and table.revision >= reader.revision()
        if not kept:  # nobody could bring it up to date
            erase_cache(cache)
    except OSError as error:
        raise _stuck(cache, error) from error


def _stuck(cache: Path, error: OSError) -> GalleryError:
    return GalleryError(
        f"{printable(cache)}: the file in which search keeps embeddings cannot be cleared"
        f" ({str(error.strerror or error).lower()}), so traces may be left in it: remove it"
    )
