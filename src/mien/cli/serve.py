"""`mien serve`: what mien does, over HTTP, and the web page."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import galleries, serve_keys
from mien.cli.console import Commands, note
from mien.cli.serve_extra import needs_extra

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.gallery.records import GalleryInfo
    from mien.server.settings import Settings

app = typer.Typer(cls=Commands, invoke_without_command=True)
app.add_typer(serve_keys.app, name="keys")
_MB = 1_000_000


@app.callback()
def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: one that is free.")] = 8765,
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    embedder: galleries.Embedder = None,
    keep_crops: galleries.KeepCrops = False,
    no_gallery: Annotated[bool, typer.Option("--no-gallery", help="Serve no gallery: nobody is known.")] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=0, max=256, help="Pictures at a time; 0: as many as there are cores.")
    ] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, max=64, help="Pictures that share a pass, at most.")] = 8,
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", metavar="NAME", help="A name under which others ask for it; needs keys."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", metavar="ADDRESS", help="A proxy that says truly where requests come from."),
    ] = None,
    ask_keys: Annotated[bool, typer.Option("--ask-keys", help="Ask for keys on this machine, too.")] = False,
    keyless: Annotated[bool, typer.Option("--keyless", help="Ask nobody for keys: something else guards it.")] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="No web page.")] = False,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="PEM", help="Speak HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="Key of the certificate.")] = None,
    picture_mb: Annotated[int, typer.Option("--picture-mb", min=1, max=200, help="Of one picture, at most.")] = 20,
    video_mb: Annotated[int, typer.Option("--video-mb", min=1, max=20_000, help="Of one video, at most.")] = 500,
    queue: Annotated[int, typer.Option("--queue", min=1, max=100_000, help="Pictures that may wait.")] = 64,
    per_minute: Annotated[
        int, typer.Option("--per-minute", min=0, help="Requests of one key in a minute, at most; 0: any number.")
    ] = 1200,
    connections: Annotated[int, typer.Option("--connections", min=1, max=60_000, help="Open at once, at most.")] = 256,
) -> None:
    """Serve faces, galleries, videos and liveness over HTTP, with a web page; this machine alone can reach it.

    With --host others can, too: then requests need keys (`mien serve keys add`).
    """
    if ctx.invoked_subcommand is not None:
        return
    with needs_extra():
        from mien.server.settings import Limits, Settings

    limits = Limits(
        picture_bytes=picture_mb * _MB,
        video_bytes=video_mb * _MB,
        queue=queue,
        per_minute=per_minute,
        connections=connections,
    )
    settings = Settings(
        host=host,
        port=port,
        gallery=None if no_gallery else gallery,
        gallery_key=key,
        embedder=embedder,
        keep_crops=keep_crops,
        workers=workers,
        batch=batch,
        hosts=tuple(host_name or ()),
        proxies=tuple(proxy or ()),
        keys=ask_keys,
        keyless=keyless,
        page=not no_page,
        limits=limits,
    )
    _run(settings, tls_cert, tls_key)


def _run(settings: Settings, certificate: Path | None, key: Path | None) -> None:
    with needs_extra():
        from mien.server import app as application
        from mien.server import serving
    logging.basicConfig(level=logging.WARNING, format="mien: %(message)s")
    with serving.listen(settings) as listening:
        served = application.create_app(settings, partial(_analyzer, settings), tls=certificate is not None)
        server = serving.server_of(served, settings, certificate=certificate, key=key)
        served.state.context.engine.analyzer.load()
        _tell(settings, listening.getsockname()[1], tls=certificate is not None)
        serving.run(server, listening)
    note("mien: stopped")


def _analyzer(settings: Settings, info: GalleryInfo | None) -> FaceAnalyzer:
    """One whose embeddings fit the gallery."""
    from mien.analyzer import TASKS

    return galleries.make_analyzer(info, settings.embedder, only=TASKS, threads=1)


def _tell(settings: Settings, port: int, *, tls: bool) -> None:
    where = f"[{settings.host}]" if ":" in settings.host else settings.host
    keys = "keys are needed" if settings.needs_keys else "no keys are needed"
    who = "this machine alone can reach it" if settings.local else "others can reach it"
    note(f"http{'s' if tls else ''}://{where}:{port}  ({who}; {keys}; Ctrl-C ends it)")
    if not tls and not settings.local:
        note("without --tls-cert, or a proxy that speaks HTTPS, whoever is between reads keys and pictures")
