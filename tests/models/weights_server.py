"""A local web server that misbehaves on demand, and tiny packages to serve from it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mien.models.base import PackageSource, Source, WeightsFile

BIG = 1 << 20


def weights_of(content: bytes, *sources: Source, filename: str = "net.onnx") -> WeightsFile:
    return WeightsFile(filename, hashlib.sha256(content).hexdigest(), len(content), sources)


@dataclass
class Site:
    """One file on a web server.

    Attributes:
        content: the file.
        faults: what goes wrong with the coming requests, in order; then all is well.
        always: what goes wrong with every request after these.
        ranges: the Range header of every request so far.
        if_ranges: likewise If-Range.
        halfway: set when a stalling answer has sent its first half.
        release: ends a stall.
    """

    content: bytes
    faults: list[str] = field(default_factory=list)
    always: str = ""
    url: str = ""
    etag: str = '"v1"'
    ranges: list[str | None] = field(default_factory=list)
    if_ranges: list[str | None] = field(default_factory=list)
    halfway: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.ranges.append(wanted)
        site.if_ranges.append(self.headers.get("If-Range"))
        fault = site.faults.pop(0) if site.faults else site.always
        if fault.isdigit():
            self.send_error(int(fault))
        elif fault.startswith("to "):
            self.send_response(302)
            self.send_header("Location", fault[3:])
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(fault, 0 if fault == "ignores ranges" or not wanted else int(wanted[6:-1]))

    def _answer(self, fault: str, start: int) -> None:
        site, body = self.site, bytearray(self.site.content[start:])
        total = len(site.content)
        if fault == "changes a byte":
            body[len(body) // 2] ^= 1
        if fault == "is longer":
            body += b"more"
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if fault == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", site.etag)
        self.end_headers()
        half = len(body) // 2
        if fault == "truncates":
            self.wfile.write(body[:half])
        elif fault == "stalls":
            self.wfile.write(body[:half])
            self.wfile.flush()
            site.halfway.set()
            site.release.wait(240)
        elif fault == "trickles":
            for byte in body[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif fault == "slow":
            for i in range(10):
                self.wfile.write(body[i * len(body) // 10 : (i + 1) * len(body) // 10])
                time.sleep(0.1)
        else:
            self.wfile.write(body + b"more" if fault == "no length" and site.etag == "longer" else body)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def _running(handler: object) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(content: bytes, *faults: str, always: str = "") -> Iterator[Site]:
    """Serve one file."""
    site = Site(content, list(faults), always)
    with _running(partial(_Handler, site)) as address:
        site.url = f"{address}/net.onnx"
        try:
            yield site
        finally:
            site.release.set()


class _Quiet(SimpleHTTPRequestHandler):
    asked: list[str]

    def __init__(self, asked: list[str], *args: object, directory: str) -> None:
        self.asked = asked
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()


@contextmanager
def package_index(folder: Path, *archives: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve archives as a simple package index; yields its address and the list of the paths asked for."""
    for archive in archives:
        name = archive.name.split("-")[0].replace("_", "-")
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        (folder / archive.name).write_bytes(archive.read_bytes())
        page.write_text(f'<!DOCTYPE html><html><body><a href="/{archive.name}">{archive.name}</a></body></html>')
    asked: list[str] = []
    with _running(partial(_Quiet, asked, directory=str(folder))) as address:
        yield f"{address}/simple", asked


_METADATA = "Metadata-Version: 2.1\nName: mien-test-nets\nVersion: 1.0\nRequires-Dist: mien-test-never-there\n"
_SETUP = "import os\nopen(os.environ['MIEN_TEST_MARKER'], 'w').close()\nfrom setuptools import setup\nsetup()\n"


def make_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    wheel = folder / "mien_test_nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        info = "mien_test_nets-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", _METADATA)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def make_source_package(folder: Path, members: dict[str, bytes]) -> Path:
    """A source package whose setup.py leaves a file behind if anybody runs it."""
    package = folder / "mien_test_nets-1.0.tar.gz"
    files = {"PKG-INFO": _METADATA.encode(), "setup.py": _SETUP.encode(), **members}
    with tarfile.open(package, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"mien_test_nets-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return package


def package_source(archive: Path, member: str) -> PackageSource:
    data = archive.read_bytes()
    return PackageSource("mien-test-nets==1.0", hashlib.sha256(data).hexdigest(), member, len(data))


def random_bytes(size: int = BIG) -> bytes:
    return os.urandom(size)
