"""Addresses of galleries on PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from mien.errors import GalleryError
from mien.ops.files import printable

DEFAULT_SCHEMA = "mien"
_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,62}")
_SECRETS = ("password", "sslpassword", "passfile", "sslkey", "oauth_client_secret")


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
            raise GalleryError("the URL of the gallery is not one of PostgreSQL") from None
        schema = dict(options).get("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
            raise GalleryError("the schema of a gallery is named with a-z, 0-9 and _ (and not pg_...)")
        rest = [(key, value) for key, value in options if key != "schema"]
        public = [(key, value) for key, value in options if key not in _SECRETS]
        user, _, host = parts.netloc.rpartition("@")
        shown = f"{user.partition(':')[0]}@{host}" if user else host
        return cls(
            _joined(parts.netloc, parts.path, rest),
            schema,
            printable(_joined(shown, parts.path, public)),
        )


def _joined(host: str, path: str, options: list[tuple[str, str]]) -> str:
    """The URL again; urlunsplit would drop the slashes before an empty host, and libpq minds."""
    query = urlencode(options, quote_via=quote, safe="/")
    return f"postgresql://{host}{path}" + (f"?{query}" if query else "")
