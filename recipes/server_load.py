"""How much `mien serve` carries on this machine: throughput beside the library's own, overload, and a soak.

    python recipes/server_load.py throughput --pictures FOLDER [--clients 32] [--requests 600] [--rounds 3]
    python recipes/server_load.py overload   --pictures FOLDER [--seconds 20]
    python recipes/server_load.py soak       --pictures FOLDER [--requests 10000]

The server runs in a process of its own, the clients in this one: all of them on the same cores, as the library alone
is when its turn comes. Clients write bytes into sockets and read them, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mien.analyzer import FaceAnalyzer, Task, to_dict
from mien.models.runtime import default_threads
from mien.ops.image import load_image

ONLY: tuple[Task, ...] = ("detect", "pose", "expression", "embed", "quality")
PATH = f"/v1/analyze?only={','.join(ONLY)}&embeddings=true"
CLOSE = 1e-4


@dataclass
class Told:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Answered pictures a second."""
        return self.statuses[200] / self.took

    def percentile(self, q: float) -> float:
        """Milliseconds within which this part of the requests was answered."""
        return 1000 * float(np.percentile(self.seconds, q)) if self.seconds else math.nan


@contextmanager
def server(*options: str) -> Iterator[tuple[int, int]]:
    """A server of its own: its port, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mien", "serve", "--port", str(port), "--no-page", "--no-gallery", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(_ready(port, process))
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if (await _once(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))[0] == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server was not ready within a minute")


async def _once(port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await _exchange(reader, writer, request)
    finally:
        writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def requests_of(pictures: Sequence[bytes]) -> list[bytes]:
    """A whole request for each picture."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: "
    return [head.encode() + f"{len(picture)}\r\n\r\n".encode() + picture for picture in pictures]


async def ask(port: int, requests: Sequence[bytes], count: int, clients: int, *, seconds: float = math.inf) -> Told:
    """So many requests by so many clients, each of which asks again as soon as it is answered."""
    told, todo = Told(), iter(range(count))
    until = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in todo:
            began = time.perf_counter()
            if began > until:
                break
            which = number % len(requests)
            status, body = await _exchange(reader, writer, requests[which])
            told.statuses[status] += 1
            if status == 200:
                told.seconds.append(time.perf_counter() - began)
                told.answers[which] = body
            else:
                await asyncio.sleep(1.0)  # as Retry-After says
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    told.took = time.perf_counter() - began
    return told


def alone(analyzer: FaceAnalyzer, pictures: Sequence[bytes], count: int, batch: int = 8) -> float:
    """Pictures a second of the library by itself: encoded pictures in, JSON out, a batch on each core."""
    began = time.perf_counter()

    def work(numbers: Sequence[int]) -> None:
        images = [load_image(pictures[i % len(pictures)]) for i in numbers]
        for i, faces in zip(numbers, analyzer(images), strict=True):
            json.dumps(to_dict(str(i), faces, embeddings=True))

    with ThreadPoolExecutor(default_threads()) as pool:
        list(pool.map(work, [range(i, min(i + batch, count)) for i in range(0, count, batch)]))
    return count / (time.perf_counter() - began)


def differences(expected: Any, found: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that differ, and by how much; anything else that differs is infinitely far away."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for key, value in expected.items():
            yield from differences(value, found[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif type(expected) is type(found) is float:
        if expected != found:
            yield where, abs(expected - found)
    elif expected != found:
        yield where, math.inf


def compare(analyzer: FaceAnalyzer, files: Sequence[Path], told: Told) -> tuple[int, float]:
    """How many answers are beyond what rounding explains, and the largest difference of any number in parts of 1."""
    beyond, largest = 0, 0.0
    for which, body in told.answers.items():
        faces = json.loads(json.dumps(analyzer(files[which]).to_dicts()))
        apart = [by for _, by in differences(faces, json.loads(body)["faces"])]
        largest = max([largest, *apart])
        beyond += any(by > 100 * CLOSE for by in apart)
    return beyond, largest


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def throughput(args: argparse.Namespace, files: Sequence[Path]) -> None:
    analyzer = FaceAnalyzer(only=ONLY, threads=1).load()
    pictures = [file.read_bytes() for file in files]
    requests = requests_of(pictures)
    with server() as (port, _):
        asyncio.run(ask(port, requests, 64, args.clients))
        ratios = []
        for turn in range(args.rounds):
            library = alone(analyzer, pictures, args.requests)
            told = asyncio.run(ask(port, requests, args.requests, args.clients))
            ratios.append(told.rate / library)
            print(
                f"round {turn + 1}: library {library:.1f}/s, server {told.rate:.1f}/s ({ratios[-1]:.1%});"
                f" p50 {told.percentile(50):.0f}, p99 {told.percentile(99):.0f} ms; {dict(told.statuses)}",
                flush=True,
            )
        beyond, largest = compare(analyzer, files, told)
    print(f"median {float(np.median(ratios)):.1%}; {len(told.answers)} answers compared with serial ones:", end=" ")
    print(f"{beyond} differ, the largest difference of a number is {largest:.2g}")


def overload(args: argparse.Namespace, files: Sequence[Path]) -> None:
    requests = requests_of([file.read_bytes() for file in files])
    with server() as (port, pid):
        calm = asyncio.run(ask(port, requests, 200, 8))
        print(f"calm: {calm.rate:.1f}/s, p99 {calm.percentile(99):.0f} ms, {memory(pid):.0f} MB", flush=True)
        for _ in range(args.rounds):
            told = asyncio.run(ask(port, requests, 10**9, 4 * 64, seconds=args.seconds))
            print(f"256 clients: {dict(told.statuses)}, {told.rate:.1f}/s, p99 {told.percentile(99):.0f} ms", end=", ")
            print(f"{memory(pid):.0f} MB", flush=True)
        began = time.perf_counter()
        after = asyncio.run(ask(port, requests, 100, 8))
        print(f"then {after.rate:.1f}/s, {dict(after.statuses)}, {time.perf_counter() - began:.1f} s for 100")


def soak(args: argparse.Namespace, files: Sequence[Path]) -> None:
    requests = requests_of([file.read_bytes() for file in files])
    with server() as (port, pid):
        asyncio.run(ask(port, requests, 500, args.clients))
        first = memory(pid)
        for part in range(10):
            told = asyncio.run(ask(port, requests, args.requests // 10, args.clients))
            now = memory(pid)
            print(
                f"{(part + 1) * args.requests // 10}: {now:.1f} MB ({now / first - 1:+.1%}), {dict(told.statuses)}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "overload", "soak"])
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    args.requests = args.requests or {"throughput": 600, "overload": 0, "soak": 10_000}[args.what]
    files = sorted(path for path in args.pictures.rglob("*.jpg"))[: args.most]
    {"throughput": throughput, "overload": overload, "soak": soak}[args.what](args, files)


if __name__ == "__main__":
    main()
