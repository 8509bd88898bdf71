"""Runs the command as a user does: in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Mien = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def mien() -> Mien:
    """`mien(*arguments, stdin=b"")`."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        import os

        return subprocess.run(
            [sys.executable, "-m", "mien", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )

    return run
