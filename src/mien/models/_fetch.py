"""A file on the web: over HTTPS, as large as pinned, resumed where it broke off, given up if it stalls."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mien.errors import WeightsError
from mien.models._files import CHUNK, Progress, sha256_of
from mien.models.base import WeightsFile

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OK, _PARTIAL = 200, 206
_RANGE_NOT_SATISFIABLE = 416
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to put up with a bad connection.

    Attributes:
        timeout: seconds without a single byte before a connection counts as dead.
        window: seconds over which the speed is measured.
        slowest: bytes per second below which, over a window, a connection counts as stalled.
        tries: connections in all.
        pause: seconds before the second try; doubled before each further one.
    """

    timeout: float = 30.0
    window: float = 60.0
    slowest: float = 1024.0
    tries: int = 6
    pause: float = 1.0


class _InterruptedError(Exception):
    """The connection broke; another one may go on from there."""


class _RestartError(Exception):
    """What was kept from an earlier connection is of no use."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never out of HTTPS."""

    def redirect_request(  # noqa: PLR0917  urllib's signature
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, weights: WeightsFile, work: Path, progress: Progress, patience: Patience) -> Path:
    """Download a file, going on from what an earlier call left in `work`.

    Returns:
        The verified file, below `work`.

    Raises:
        WeightsError: it cannot be had, or is not what was pinned (then nothing of it is kept). What arrived
            before a connection broke stays in `work`, for the next call.
        OSError: `work` cannot be written.
    """
    _check_scheme(url)
    part = _Part(work, url, weights)
    resumed = part.length() > 0
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.pause * 2 ** (attempt - 1))
        try:
            _continue(part, progress, patience)
        except _InterruptedError as error:
            problem, resumed = str(error), True
            continue
        except _RestartError as error:
            part.drop()
            problem, resumed = str(error), False
            continue
        if sha256_of(part.path) == weights.sha256:
            part.forget()
            return part.path
        part.drop()
        if not resumed:
            raise WeightsError(f"{url} does not match its pinned SHA-256, nothing of it was kept")
        # Two halves of different files, perhaps: one try from the start decides.
        problem, resumed = f"{url} does not match its pinned SHA-256, nothing of it was kept", False
    raise WeightsError(problem)


class _Part:
    """The file as far as it has arrived, and the ETag of the version that it is a part of."""

    def __init__(self, work: Path, url: str, weights: WeightsFile) -> None:
        self.url, self.weights = url, weights
        self.path = work / f"{weights.filename}.part"
        self._note = work / f"{weights.filename}.etag.part"

    def length(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def etag(self) -> str | None:
        """The strong ETag that the part belongs to, if this URL gave one."""
        try:
            note = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return None
        return note["etag"] if isinstance(note, dict) and note.get("url") == self.url else None

    def remember(self, etag: str | None) -> None:
        if etag and etag.startswith('"'):  # a weak one does not promise equal bytes
            self._note.write_text(json.dumps({"url": self.url, "etag": etag}))
        else:
            self.forget()

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.forget()


def _continue(part: _Part, progress: Progress, patience: Patience) -> None:
    """Append to the part until it has the pinned size."""
    have, size = part.length(), part.weights.size
    if have == size:
        return
    if have > size:
        raise _RestartError(f"{part.url} had become longer than its pinned size")
    with _open(part, have, patience) as response:
        if response.status == _PARTIAL:
            _check_range(response, have, size, part.url)
        else:
            have = 0  # the server ignores ranges, or the file changed: start again
            _check_length(response, size, part.url)
        if have == 0:
            part.remember(response.headers.get("ETag"))
        with part.path.open("ab" if have else "wb") as out:
            pace = _Pace(patience)
            while have < size:
                chunk = _read(response, min(CHUNK, size - have), part.url)
                if not chunk:
                    raise _InterruptedError(f"{part.url} broke off at {have:,} of {size:,} bytes")
                out.write(chunk)
                have += len(chunk)
                progress(have, size, part.weights.filename)
                pace.check(len(chunk), part.url)
        # One byte more than pinned is another file, whatever the hash of the start.
        if response.headers.get("Content-Length") is None and _read(response, 1, part.url):
            part.drop()
            raise WeightsError(f"{part.url} is longer than its pinned size, nothing of it was kept")


def _open(part: _Part, have: int, patience: Patience) -> http.client.HTTPResponse:
    headers = {"User-Agent": "mien", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag := part.etag():
            headers["If-Range"] = etag
    request = urllib.request.Request(part.url, headers=headers)  # noqa: S310  the scheme was checked
    # A proxy cannot reach this machine's own loopback.
    proxies = [urllib.request.ProxyHandler({})] if urlsplit(part.url).scheme == "http" else []
    opener = urllib.request.build_opener(_Redirects(), *proxies)
    try:
        response = opener.open(request, timeout=patience.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_NOT_SATISFIABLE:
            raise _RestartError(f"{part.url} answers 416") from None
        message = f"{part.url} answers {error.code} {error.reason}"
        if error.code in _WORTH_ANOTHER_TRY:
            raise _InterruptedError(message) from None
        raise WeightsError(message) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise WeightsError(f"{part.url} shows no valid certificate ({error.reason.reason})") from error
        raise _InterruptedError(f"{part.url} cannot be reached ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(f"{part.url} does not answer ({error or type(error).__name__})") from error
    assert isinstance(response, http.client.HTTPResponse)  # noqa: S101  urllib promises no type
    return response


def _read(response: http.client.HTTPResponse, most: int, url: str) -> bytes:
    """What has arrived, without waiting for more: `read` would hide a trickle."""
    try:
        return response.read1(most)
    except TimeoutError:
        raise _InterruptedError(f"{url} stalled") from None
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(f"{url} broke off ({error or type(error).__name__})") from error


class _Pace:
    """Notices a connection that trickles."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._bytes, self._since = patience, 0, time.monotonic()

    def check(self, arrived: int, url: str) -> None:
        self._bytes += arrived
        elapsed = time.monotonic() - self._since
        if elapsed < self._patience.window:
            return
        if self._bytes < self._patience.slowest * elapsed:
            raise _InterruptedError(f"{url} stalled at {self._bytes / elapsed:,.0f} bytes a second")
        self._bytes, self._since = 0, time.monotonic()


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise WeightsError(f"{url} is refused: weights are fetched over https only")


def _check_range(response: http.client.HTTPResponse, have: int, size: int, url: str) -> None:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if not match or (int(match[1]), int(match[3])) != (have, size):
        raise _RestartError(f"{url} answers with another range than was asked for")


def _check_length(response: http.client.HTTPResponse, size: int, url: str) -> None:
    length = response.headers.get("Content-Length")
    if length is not None and length != str(size):
        raise WeightsError(f"{url} offers {length} bytes where {size} are pinned: it is another file, refused")
