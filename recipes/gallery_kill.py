"""Kills a process in the middle of enrolment, merging, re-embedding and a change of key, and looks for what was lost.

    python recipes/gallery_kill.py --runs 200

Each run lets a process change a gallery and acknowledge every committed change, kills it with SIGKILL at a random
moment (within half a second after its first acknowledgement), opens the gallery again and checks that all that was
acknowledged is there, that nothing is there by half, and that of two keys exactly one opens it. The kinds of work take
turns, each on one gallery that goes through all its kills. PostgreSQL is started by the package that the tests use; its
server is not killed, its client is.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gallery.galleries import fresh_url
from tests.gallery.killing import kill_once, prepare
from tests.gallery.postgres_server import running

WORK = ("enrol", "merge", "reembed", "rotate")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="kills per store")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    options = parser.parse_args()
    random.seed(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running()) if "postgres" in options.stores else None
        print(
            "| store | work | kills | acknowledged changes | failures | seconds |\n|---|---|---|---|---|---|",
            flush=True,
        )
        failed = sum(kill(store, folder, server, options.runs, options.work) for store in options.stores)
    return 1 if failed else 0


def kill(store: str, folder: Path, server: str | None, runs: int, kinds: Sequence[str]) -> int:
    """All runs of one store; the number of those that lost something."""
    return sum(
        row(store, work, fresh_url(store, folder, server), len(range(k, runs, len(kinds))))
        for k, work in enumerate(kinds)
    )


def row(store: str, work: str, url: str, runs: int) -> int:
    prepare(url, work)
    acknowledged, failures, start = 0, list[str](), time.monotonic()
    for _ in range(runs):
        try:
            acknowledged += kill_once(url, work, random.randrange(1, 2**60), longest=0.5).acknowledged
        except Exception as error:  # a run that fails is what this is about: count it and go on
            failures.append(f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - start
    print(f"| {store} | {work} | {runs} | {acknowledged} | {len(failures)} | {seconds:.0f} |", flush=True)
    report(failures)
    return len(failures)


def report(failures: Sequence[str]) -> None:
    for failure in failures:
        print(failure, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
