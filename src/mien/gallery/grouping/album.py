"""The faces of a folder of pictures: found once, kept in a file meanwhile, so that an interrupted run goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mien.analyzer import FaceAnalyzer
from mien.errors import DataError
from mien.gallery.grouping.face_file import MadeBy, read_faces, write_faces
from mien.many import FileResult
from mien.ops.files import printable
from mien.ops.image import picture_digest
from mien.types import Faces

_SAVE_EVERY = 5.0  # seconds, at least
_SHARE_FOR_SAVING = 0.05  # of the time, at most


class Album:
    """The faces of pictures, by the SHA-256 of the pictures' bytes.

    Args:
        file: where they are kept (.npz); what it holds already is not done again.
        made_by: the models that find and embed the faces.

    Attributes:
        pictures: by SHA-256, the faces of each picture, with embeddings.
        paths: by SHA-256, where a picture was seen in this run.
        failed: (path, why) of files that could not be used.

    Raises:
        DataError: the file is something else, or its faces come from other models or settings.
    """

    def __init__(self, file: Path, made_by: MadeBy) -> None:
        self.file = file
        self.made_by = made_by
        self.pictures: dict[str, Faces] = {}
        self.paths: dict[str, list[str]] = {}
        self.failed: list[tuple[str, str]] = []
        self._saved_at = time.monotonic()
        self._save_took = 0.0
        if os.path.lexists(file):
            self._take_up()

    def _take_up(self) -> None:
        self.pictures, earlier = read_faces(self.file)
        if earlier != self.made_by:
            raise DataError(
                f"{printable(self.file)}: holds faces found with other models or settings; "
                "write to another file, or remove it"
            )

    def add(self, files: Iterable[Path], analyzer: FaceAnalyzer, *, progress: Callable[[], None]) -> None:
        """Find the faces of files, several at a time; what cannot be used is noted, and the others go on.

        Args:
            files: the pictures.
            analyzer: finds and embeds.
            progress: called once for each file.

        Raises:
            ModelError: a model cannot be loaded.
            MienError: the file cannot be written.
        """
        digests: dict[str, str | None] = {}
        try:
            for result in analyzer.files(self._unknown(files, digests, progress)):
                self._note(result, digests[result.path])
                progress()
                if time.monotonic() - self._saved_at > max(_SAVE_EVERY, self._save_took / _SHARE_FOR_SAVING):
                    self.save()
        finally:  # also where the run is interrupted
            self.save()
        self._drop_failed()

    def save(self, only: Iterable[str] | None = None) -> None:
        """Write the file, whole or not at all.

        Args:
            only: forget all pictures but these.

        Raises:
            MienError: it cannot be written.
        """
        if only is not None:
            self.pictures = {digest: self.pictures[digest] for digest in only}
        start = time.monotonic()
        write_faces(self.file, self.pictures, self.made_by)
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - start

    def _unknown(
        self, files: Iterable[Path], digests: dict[str, str | None], progress: Callable[[], None]
    ) -> Iterator[Path]:
        """The files whose faces are not known yet: of several with the same bytes, the first."""
        begun: set[str] = set()
        for path in files:
            digest = picture_digest(path)
            if digest is not None:
                self.paths.setdefault(digest, []).append(str(path))
                if digest in self.pictures or digest in begun:
                    progress()
                    continue
                begun.add(digest)
            digests[str(path)] = digest
            yield path

    def _note(self, result: FileResult, digest: str | None) -> None:
        if digest is not None and result.faces is not None:
            self.pictures[digest] = result.faces
            return
        error = str(result.error or f"{printable(result.path)}: cannot be read")
        self.failed.append((result.path, error))

    def _drop_failed(self) -> None:
        """Forget where pictures are that could not be used; copies of them failed too."""
        reported = {path for path, _ in self.failed}
        for digest in [digest for digest in self.paths if digest not in self.pictures]:
            copies = [path for path in self.paths.pop(digest) if path not in reported]
            self.failed += [(path, f"{printable(path)}: a copy of a file that failed") for path in copies]
