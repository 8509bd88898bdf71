"""What tests share: real photographs, and analyzers over real weights."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mien import FaceAnalyzer
from mien.analyzer import TASKS

Mien = Callable[..., subprocess.CompletedProcess[bytes]]

PHOTOS = Path(__file__).parent / "photos"
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A public-domain photograph with one face, 512 x 600."""
    return PHOTOS / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """Another one, 512 x 512, of somebody else."""
    return PHOTOS / "astronaut.jpg"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the development data in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def shared_photos(shared: Path) -> Path:
    """Real photographs: NAME_n.jpg are one person each, two_people.jpg, crowd.jpg."""
    return shared / "photos"


@pytest.fixture(scope="session")
def lfw(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the lfw_dev pictures: NAME/NAME_0001.jpg."""
    root = tmp_path_factory.mktemp("lfw_dev")
    with zipfile.ZipFile(shared / "lfw_dev.zip") as archive:
        archive.extractall(root)
    return root / "lfw"


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    """The default analyzer, on one thread."""
    return FaceAnalyzer(threads=1).load()


@pytest.fixture(scope="session")
def server_analyzer() -> FaceAnalyzer:
    """One that does all that servers can be asked, loaded once for all of them."""
    return FaceAnalyzer(only=TASKS, threads=1).load()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a database on a real PostgreSQL with pgvector; galleries in it share it by `?schema=NAME`."""
    from tests.gallery.postgres_server import running

    with running() as url:
        yield url


@pytest.fixture(scope="session")
def tiny_expressions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that a user could have trained: brighter faces look happier to it."""
    from tests.models.tiny_classifier import network

    path = tmp_path_factory.mktemp("expressions") / "tiny.onnx"
    path.write_bytes(network())
    return path


@pytest.fixture(scope="session")
def mien() -> Mien:
    """`mien(*arguments, stdin=b"")`."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "mien", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=300,
            check=False,
            env={**os.environ, **environment},
        )

    return run
