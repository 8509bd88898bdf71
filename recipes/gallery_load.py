"""Processes that write and read one gallery together, for a while: no update may be lost.

    python recipes/gallery_load.py --seconds 60

Every process counts up a number that all share and enrols a face in one transaction, then reads what the others have
done and checks that the number of faces is that number. At the end both must be the sum of what the processes
acknowledge. A process that waits for others longer than the store says (10 s) is told that the gallery is busy; it
tries again, and this is counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gallery.galleries import AT, an_info, fresh_url
from tests.gallery.killing import start
from tests.gallery.postgres_server import running

from mien.gallery.records import Person
from mien.gallery.stores.opening import open_store


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--stores", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running()) if "postgres" in options.stores else None
        print(
            "| store | processes | seconds | transactions | lost | busy | longest wait (s) | other errors |", flush=True
        )
        print("|---|---|---|---|---|---|---|---|", flush=True)
        rows = [load(store, fresh_url(store, folder, server), options) for store in options.stores]
    return 0 if all(rows) else 1


def load(store: str, url: str, options: argparse.Namespace) -> bool:
    """Print one row; whether nothing was lost."""
    gallery = open_store(url, create=an_info())
    with gallery.write() as writer:
        writer.add_person(Person("0" * 32, "counter", AT))
    workers = [start(url, "load", seed, round(options.seconds)) for seed in range(options.processes)]
    answers = [answer(worker) for worker in workers]
    done, busy = (sum(int(words[k]) for words, _ in answers if words) for k in (0, 1))
    longest = max((float(words[2]) for words, _ in answers if words), default=0.0)
    errors = [said for words, said in answers if said or not words]
    with gallery.read() as reader:
        [counter] = reader.people()
        lost = done - int(counter.consent or 0), done - counter.faces
    gallery.close()
    print(
        f"| {store} | {options.processes} | {options.seconds:g} | {done} | {max(map(abs, lost))} | {busy}"
        f" | {longest:.2f} | {len(errors)} |",
        flush=True,
    )
    for said in errors:
        print(said, file=sys.stderr)
    return lost == (0, 0) and not errors


def answer(worker: subprocess.Popen[str]) -> tuple[list[str], str]:
    """The words of a worker's last line, and what it complained of."""
    out, said = worker.communicate()
    return out.split(), said


if __name__ == "__main__":
    sys.exit(main())
