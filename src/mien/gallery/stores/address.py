"""Addresses of galleries on PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from mien.errors import GalleryError
from mien.ops.files import printable

DEFAULT_SCHEMA = "mien"
_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,62}")
_PUBLIC = frozenset({"schema", "host", "hostaddr", "port", "user", "dbname", "service", "sslmode", "connect_timeout"})
"""Options that are shown; a password can stand in any other, also in one that is misspelt."""
_HOSTS = re.compile(r"(?:[^]\[@:/]*|\[[^]\[@/]*\])(?::\d*)?(?:,(?:[^]\[@:/]*|\[[^]\[@/]*\])(?::\d*)?)*")
_LIKELY_DATABASE = re.compile(r"\s*(jdbc:)?postgres(ql)?(:|//)|.*\bpassword\s*=", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Address:
    """Where a gallery on PostgreSQL is.

    Attributes:
        conninfo: for libpq; may hold a password.
        schema: of the gallery.
        shown: printable, without what is secret.
    """

    conninfo: str = field(repr=False)
    schema: str
    shown: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take a URL apart; see `open_store`.

        Raises:
            GalleryError: it is none; the message does not repeat it.
        """
        try:
            parts = urlsplit(url)
            options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise not_an_address() from None
        user, _, host = parts.netloc.rpartition("@")
        # A character that was not escaped moves a piece of the password to where it would be shown.
        escaped = re.fullmatch("(?:[^%]|%(?!00)[0-9A-Fa-f]{2})*", url, re.DOTALL)
        if not escaped or "#" in url or "@" in user + parts.path or user.count(":") > 1 or not _HOSTS.fullmatch(host):
            raise not_an_address()
        schema = dict(options).get("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
            raise GalleryError("the schema of a gallery is named with a-z, 0-9 and _ (and not pg_...)")
        rest = [(key, value) for key, value in options if key != "schema"]
        public = [(key, value) for key, value in options if key in _PUBLIC]
        shown = f"{user.partition(':')[0]}@{host}" if user else host
        return cls(
            _joined(parts.netloc, parts.path, rest),
            schema,
            printable(_joined(shown, parts.path, public)),
        )


def not_an_address() -> GalleryError:
    """What to say about a URL that is none, without repeating it: it may hold a password."""
    return GalleryError(
        "the URL of the gallery is not one of PostgreSQL: write postgresql://USER:PASSWORD@HOST/DATABASE, in each part"
        " %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and %25 for %"
    )


def means_database(address: str) -> bool:
    """Whether something that is no URL of a gallery was likely meant to be a database, and may hold a password."""
    return _LIKELY_DATABASE.match(address) is not None


def _joined(host: str, path: str, options: list[tuple[str, str]]) -> str:
    """The URL again; urlunsplit would drop the slashes before an empty host, and libpq minds."""
    query = urlencode(options, quote_via=quote, safe="/")
    return f"postgresql://{host}{path}" + (f"?{query}" if query else "")
