"""How a server is set up: where it listens, what it serves, and how much anybody may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from mien.models.runtime import default_threads

HOST = "127.0.0.1"
PORT = 8765


@dataclass(frozen=True)
class Limits:
    """How much one request, and all of them together, may ask for. All of them hold per process.

    Attributes:
        picture_bytes: of one encoded picture.
        picture_pixels: of one decoded picture.
        pictures: in one request.
        video_bytes: of one uploaded video or archive.
        queue: pictures that wait for a network; more are answered with 429.
        queue_bytes: of encoded pictures that are held at once, likewise.
        deadline: seconds from the last byte of a request until its answer; later it is 503.
        upload_seconds: within which a request's header, and then its body, has to arrive; each 8 MB of it that have
            arrived buy as much again.
        connections: open at once; of one address a quarter of it, unless only this machine can reach the server.
        per_minute: requests of one key, or of one address without a key; a quarter of it may come at once. 0: no limit,
            nor is there one for callers without keys where only this machine can reach the server.
        jobs: that run or wait at once; of one owner a quarter of it.
        job_seconds: one job may run.
        keep_seconds: a finished job's results can be fetched.
        sessions: attempts to unlock, and live streams, at once.
    """

    picture_bytes: int = 20_000_000
    picture_pixels: int = 50_000_000
    pictures: int = 16
    video_bytes: int = 500_000_000
    queue: int = 64
    queue_bytes: int = 256_000_000
    deadline: float = 30.0
    upload_seconds: float = 30.0
    connections: int = 256
    per_minute: int = 1200
    jobs: int = 8
    job_seconds: float = 3600.0
    keep_seconds: float = 3600.0
    sessions: int = 8


@dataclass(frozen=True)
class Settings:
    """How a server is set up.

    Attributes:
        host: address to listen at.
        port: of it.
        gallery: file or address of the gallery; None serves none.
        gallery_key: where the key of an encrypted gallery is, see `Gallery.open`.
        embedder: of the gallery; None: its own, and mien's default where it is new.
        keep_crops: whether a gallery that is new keeps a crop of each face, which the page shows.
        folder: of keys, the audit log and lock-outs; the user's own by default.
        workers: pictures that are analysed at a time, each by one thread; 0: as many as there are cores.
        batch: pictures whose faces share a forward pass, at most.
        hosts: names under which it is reached, beside its own; anything else in a Host header is refused.
        proxies: addresses of proxies whose word is taken for where a request comes from (X-Forwarded-For).
        keys: ask for keys although only this machine reaches it, and others work on it.
        keyless: serve without keys although it listens beyond this machine: somebody else guards the door.
        page: whether the web page is served.
        limits: how much may be asked for.
    """

    host: str = HOST
    port: int = PORT
    gallery: str | None = None
    gallery_key: str | None = None
    embedder: str | None = None
    keep_crops: bool = False
    folder: Path | None = None
    workers: int = 0
    batch: int = 8
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    keys: bool = False
    keyless: bool = False
    page: bool = True
    limits: Limits = field(default_factory=Limits)

    @property
    def threads(self) -> int:
        """Pictures that are analysed at a time."""
        return self.workers or default_threads()

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def needs_keys(self) -> bool:
        """Whether every request has to show a key: also where a proxy on this machine lets others in."""
        others = self.keys or self.hosts or self.proxies or not self.local
        return bool(others) and not self.keyless
