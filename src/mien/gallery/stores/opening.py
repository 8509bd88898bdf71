"""Which store a URL means, and opening it."""

from __future__ import annotations

import os
from pathlib import Path

from mien.errors import GalleryError
from mien.gallery.records import GalleryInfo
from mien.gallery.stores.address import Address, means_database, not_an_address
from mien.gallery.stores.protocol import Cipher, Store
from mien.gallery.stores.reader import check_key
from mien.ops.files import printable

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite:///"


def open_store(
    url: str | os.PathLike[str],
    *,
    create: GalleryInfo | None = None,
    cipher: Cipher | None = None,
    timeout: float = 10.0,
    readonly: bool = False,
) -> Store:
    """Open what keeps a gallery.

    Args:
        url: path of a file, sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/DATABASE?schema=NAME (default: mien).
        create: what the gallery is to be where there is none; None: it must be there.
        cipher: of an encrypted gallery, or, with `create`, of one that is to be.
        timeout: seconds to wait for others that write.
        readonly: write nothing, also not to a file that could be written.

    Raises:
        GalleryError: there is no gallery, something else lies there, or it cannot be opened.
        GalleryKeyError: it is encrypted and `cipher` is missing or another one.
    """
    address = os.fspath(url)
    if create is not None:
        check_key(create, cipher, "the new gallery")
    if address.startswith(_POSTGRES):
        return _open_database(address, create, cipher, timeout, readonly=readonly)
    return _open_file(_path(address), create, cipher, timeout, readonly=readonly)


def file_of(url: str | os.PathLike[str]) -> Path | None:
    """The file that a URL names; None where it names a database.

    Raises:
        GalleryError: it names neither.
    """
    address = os.fspath(url)
    return None if address.startswith(_POSTGRES) else _path(address)


def can_be_written(url: str | os.PathLike[str]) -> bool:
    """Whether the file of a gallery may be written; of one in a database, its server says so with each change.

    Raises:
        GalleryError: the URL names neither.
    """
    from mien.gallery.stores import sqlite

    path = file_of(url)
    return path is None or sqlite.can_be_written(path)


def _open_file(
    path: Path, create: GalleryInfo | None, cipher: Cipher | None, timeout: float, *, readonly: bool
) -> Store:
    from mien.gallery.stores import sqlite

    if not os.path.lexists(path):
        if create is None or readonly:
            raise GalleryError(f"{printable(path)}: there is no gallery")
        sqlite.create(path, create)
    return sqlite.SqliteStore(path, cipher=cipher, timeout=timeout, readonly=readonly)


def _open_database(
    url: str, create: GalleryInfo | None, cipher: Cipher | None, timeout: float, *, readonly: bool
) -> Store:
    from mien.gallery.stores.postgres import PostgresStore

    return PostgresStore(Address.parse(url), create=create, cipher=cipher, timeout=timeout, readonly=readonly)


def _path(address: str) -> Path:
    """The file that is meant."""
    if means_database(address):
        raise not_an_address()
    path = address.removeprefix(_SQLITE)
    if not path or "\0" in path:
        raise GalleryError(f"{printable(address)!r} names no file")
    if "://" in path:
        raise GalleryError(f"{printable(address.partition('://')[0])}://: mien knows sqlite:/// and postgresql://")
    return Path(path).expanduser()
