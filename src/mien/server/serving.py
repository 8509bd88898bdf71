"""Running an application on uvicorn: with our protocol, and without the comfort that is a door."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from mien.errors import ServerError
from mien.server.protocol import protocol_for
from mien.server.settings import Settings

_KEEP_ALIVE = 20  # seconds: longer than a page's polling, shorter than upload_seconds
_FRAME_BYTES = 4_000_000
_SPARE_SECONDS = 5.0


def listen(settings: Settings) -> socket.socket:
    """Take the address, before anything else is begun.

    Raises:
        ServerError: it is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        address = (settings.host, settings.port)
        listening = socket.create_server(address, family=family, backlog=settings.limits.connections)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise ServerError(f"{where}: something else listens there; choose another with --port") from error
        raise ServerError(f"{where}: cannot listen there ({error.strerror or error})") from error
    except OverflowError as error:
        raise ServerError(f"{settings.port}: no port; they go from 0 to 65535") from error
    # Connections inherit it. asyncio sets it on none of ours, and a body would wait 40 ms for its header's receipt.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server_of(
    app: FastAPI, settings: Settings, *, certificate: Path | None = None, key: Path | None = None
) -> uvicorn.Server:
    """A server that has not begun.

    Args:
        app: made by `create_app`.
        settings: those that it was made with.
        certificate: PEM of a chain, to speak HTTPS.
        key: of the certificate.

    Raises:
        ServerError: the certificate cannot be used.
    """
    _check_tls(certificate, key)
    limits = settings.limits
    config = uvicorn.Config(
        app,
        http=protocol_for(settings),
        ws="websockets-sansio",
        ws_max_size=min(_FRAME_BYTES, limits.picture_bytes),
        ws_max_queue=4,
        ws_per_message_deflate=False,  # pictures are packed already, and what unpacks can explode
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),  # else anybody could say where they come from
        forwarded_allow_ips=list(settings.proxies),
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(limits.deadline + limits.upload_seconds + _SPARE_SECONDS),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    return uvicorn.Server(config)


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, and then finish what was accepted; a second SIGINT means now.

    Raises:
        ServerError: it could not begin.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises again what ended it, once all is finished
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    if not server.started:
        raise ServerError("the server could not begin; the lines above say why")


def _check_tls(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise ServerError("HTTPS needs both a certificate and its key: --tls-cert FILE --tls-key FILE")
    if certificate is None or key is None:
        return
    for file in (certificate, key):
        if not os.access(file, os.R_OK):
            raise ServerError(f"{file}: cannot be read")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ServerError(f"{certificate}, {key}: no certificate with its key ({error})") from error


def _no_password() -> str:
    raise ValueError("the key is locked with a password; give one without")
