"""Growing waits after failures, kept in a private file, so that they survive restarts.

An attempt is written down as failed before it begins, and struck out only when it succeeds: ending the program in the
middle of an attempt is no way around. Who it was is kept as a hash of the ids of gallery and person.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from mien.errors import LivenessError
from mien.ops.atomic import write_whole

__all__ = ["FREE", "Lockout", "Wait", "state_folder", "wait_after"]

FREE = 3
"""Failures that cost nothing but the attempt."""
FIRST_WAIT = 30.0
LONGEST_WAIT = 24 * 3600.0
FORGET = 7 * 24 * 3600.0
"""Seconds after which failures are forgotten."""
_FORMAT = "mien lockout 1"


def wait_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row: none for the first two, then 30, doubling up to a day."""
    return 0.0 if failures < FREE else min(FIRST_WAIT * 2.0 ** min(failures - FREE, 60), LONGEST_WAIT)


def state_folder() -> Path:
    """Where waits and the audit lines are kept: `MIEN_STATE`, or else the user's state folder."""
    if home := os.environ.get("MIEN_STATE"):
        return Path(home)
    from platformdirs import user_state_path

    return user_state_path("mien")


@dataclass(frozen=True)
class Wait:
    """What stands in the way of an attempt.

    Attributes:
        failures: in a row.
        seconds: left to wait; 0: an attempt may begin.
    """

    failures: int
    seconds: float


class Lockout:
    """The failures of one person at one gallery.

    Args:
        gallery: id of the gallery.
        person: id of the person.
        folder: where files are kept; `state_folder()` by default.
        clock: seconds since 1970.
    """

    def __init__(
        self, gallery: str, person: str, *, folder: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = (folder or state_folder()) / "unlock"
        name = sha256(f"{gallery}\0{person}".encode()).hexdigest()[:32]
        self._path = self._folder / f"{name}.json"
        self._clock = clock

    @contextmanager
    def attempt(self) -> Iterator[Callable[[], None]]:
        """One attempt, alone: counted as failed unless the function that is given is called.

        Yields:
            Call it when the person is let in: failures are forgotten.

        Raises:
            LockedError: it is too early, or another attempt at the same person is under way.
            LivenessError: the file cannot be read or written.
        """
        with self._alone():
            wait = self._wait()
            if wait.seconds > 0:
                raise LockedError(wait)
            self._write(wait.failures + 1)
            yield lambda: self._write(0)

    def wait(self) -> Wait:
        """What stands in the way now.

        Raises:
            LivenessError: the file is damaged.
        """
        return self._wait()

    def clear(self) -> None:
        """Forget all failures; for whoever runs the door.

        Raises:
            LivenessError: the file cannot be written.
        """
        self._write(0)

    def _wait(self) -> Wait:
        failures, last = self._read()
        now = self._clock()
        if failures == 0 or now - last > FORGET:
            return Wait(0, 0.0)
        # a clock that was set back does not shorten the wait
        return Wait(failures, max(0.0, wait_after(failures) - max(0.0, now - last)))

    def _read(self) -> tuple[int, float]:
        """Failures, and when the last attempt began. What cannot be understood opens nothing."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            failures, last = kept["failures"], float(kept["last"])
            if kept["format"] != _FORMAT or not isinstance(failures, int) or failures < 0 or not 0 <= last < 1e12:
                raise ValueError("values out of range")
        except FileNotFoundError:
            return 0, 0.0
        except OSError as error:
            raise LivenessError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LivenessError(
                f"{self._path}: damaged, and it says who has to wait; whoever runs this door may delete it"
            ) from error
        return failures, last

    def _write(self, failures: int) -> None:
        self._make_folder()
        kept = {"format": _FORMAT, "failures": failures, "last": self._clock()}
        write_whole(self._path, json.dumps(kept) + "\n", private=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._make_folder()
        # a server may begin an attempt in one thread and end it in another
        lock = FileLock(self._path.with_suffix(".lock"), timeout=0, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise LockedError(Wait(0, 0.0), busy=True) from error
        except OSError as error:
            raise LivenessError(f"{self._path}: cannot be locked ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    def _make_folder(self) -> None:
        make_private(self._folder)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may look into.

    Raises:
        LivenessError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LivenessError(f"{folder}: cannot be made ({error.strerror or error}); set MIEN_STATE") from error


class LockedError(LivenessError):
    """An attempt may not begin yet."""

    def __init__(self, wait: Wait, *, busy: bool = False) -> None:
        why = "another attempt is under way" if busy else f"wait {wait.seconds:.0f} s after {wait.failures} failures"
        super().__init__(f"no attempt may begin now: {why}")
        self.wait = wait
        self.busy = busy
