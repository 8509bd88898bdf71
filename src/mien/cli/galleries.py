"""What commands on a gallery share: which one is meant, its key, and an analyzer whose embeddings fit it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from mien.cli import options
from mien.errors import GalleryError, MienError
from mien.ops.files import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.analyzer import FaceAnalyzer, Task
    from mien.gallery.gallery import Gallery
    from mien.gallery.records import GalleryInfo

URL = "people.db"

GalleryUrl = Annotated[
    str,
    typer.Option(
        "--gallery",
        metavar="DB",
        envvar="MIEN_GALLERY",
        help="The gallery: a file, or postgresql://... (see docs/gallery.md).",
    ),
]
KeySource = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="SOURCE",
        envvar="MIEN_GALLERY_KEY",
        help="Where the key of an encrypted gallery is: file:PATH, env:NAME or keyring:NAME.",
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option("--embedder", help="Embedder; the gallery's own by default. arcface:FILE.onnx for one of your own."),
]
KeepCrops = Annotated[
    bool, typer.Option("--keep-crops", help="A new gallery keeps a crop of each face, to embed it again later.")
]
Accurate = Annotated[
    bool, typer.Option("--accurate", help="A new gallery averages more views of each face: better, and slower.")
]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="WHEN", help="When `purge` removes them: a date, 30d for days, or never."),
]


def open_gallery(url: str, key: str | None = None, **how: Any) -> Gallery:
    """Open a gallery that is there; `how` goes to `Gallery.open`.

    Raises:
        GalleryError: there is none, or it cannot be used.
    """
    from mien.gallery.gallery import Gallery

    if not is_there(url):
        raise GalleryError(
            f"{printable(url)}: there is no gallery; name another with --gallery or MIEN_GALLERY, or make this one with"
            " `mien gallery enrol`"
        )
    return Gallery.open(url, **({"embedder": None, "mode": None, "key": key, "create": False} | how))


def open_to_look(url: str, key: str | None = None) -> Gallery:
    """Open a gallery that is only looked at: also one that cannot be written.

    Raises:
        GalleryError: there is none, or it cannot be used.
    """
    from mien.gallery.stores.opening import can_be_written

    return open_gallery(url, key, readonly=is_there(url) and not can_be_written(url))


def open_if_there(url: str, **how: Any) -> Gallery | None:
    """Open a gallery; None where there is no such file yet. A database is opened, and made into a gallery, at once.

    Args:
        url: of the gallery.
        how: goes to `Gallery.open`.

    Raises:
        GalleryError: it cannot be used.
        GalleryKeyError: the key is missing, wrong, or cannot be read.
    """
    from mien.gallery.encryption import read_cipher
    from mien.gallery.gallery import Gallery

    if is_there(url):
        return Gallery.open(url, create="://" in url, **how)
    read_cipher(how.get("key"))  # of the gallery that is to be: what is wrong with it is said before the work
    return None


class Target:
    """A gallery to enrol into, and an analyzer that fits it; where there is none it is made, once it is asked for.

    Args:
        url: of the gallery.
        embedder: as the user says; None: the gallery's own.
        accurate: whether a new gallery is to be accurate.
        key: where its key is.
        keep_crops: whether a new gallery keeps crops.
        how: goes to `options.make_analyzer`.

    Raises:
        GalleryError: it cannot be used.
        ModelError: a model cannot be loaded.
    """

    def __init__(
        self, url: str, *, embedder: str | None, accurate: bool, key: str | None, keep_crops: bool, **how: Any
    ) -> None:
        self._url, self._key = url, key
        self._opened = open_if_there(url, embedder=embedder, mode="accurate" if accurate else None, key=key)
        info = self._opened.info if self._opened else None
        self.keeps_crops = info.keeps_crops if info else keep_crops
        try:
            self.analyzer = make_analyzer(info, embedder, accurate=accurate, **how).load()
        except BaseException:
            self.close()
            raise

    def gallery(self) -> Gallery:
        """The gallery.

        Raises:
            GalleryError: it cannot be made, or holds embeddings of another model or mode.
        """
        from mien.gallery.gallery import Gallery

        embedder = self.analyzer.embedder
        if self._opened is None:
            self._opened = Gallery.open(self._url, embedder=embedder, key=self._key, keep_crops=self.keeps_crops)
        self._opened.check(embedder)
        return self._opened

    def close(self) -> None:
        """Let go of the gallery; may be called twice."""
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_there(url: str) -> bool:
    """False where there is no such file; a database is asked when it is opened."""
    from mien.gallery.stores.address import means_database

    return "://" in url or means_database(url) or os.path.lexists(Path(url).expanduser())


def make_analyzer(
    info: GalleryInfo | None,
    embedder: str | None,
    *,
    accurate: bool = False,
    only: Sequence[Task] = ("detect", "embed"),
    **how: Any,
) -> FaceAnalyzer:
    """An analyzer that fits a gallery; `how` goes to `options.make_analyzer`.

    Args:
        info: of the gallery, whose embedder and mode it has; None: of one that is to be made.
        embedder: as the user says.
        accurate: whether a new gallery is to be accurate.
        only: what to do; without embeddings nothing can be compared.
        how: goes to `options.make_analyzer`.

    Raises:
        MienError: the gallery's embedder is a file of the user's own, which nobody has named.
    """
    if info is not None:
        accurate = info.mode == "accurate"
        if embedder is None and ":" in info.embedder:
            raise MienError(f"this gallery was made with {info.embedder}: name its file, --embedder arcface:FILE.onnx")
    name = embedder or (info.embedder if info else options.EMBEDDER)
    return options.make_analyzer(embedder=name, accurate=accurate, only=only, **how)
