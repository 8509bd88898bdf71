"""`mien serve keys`: who may ask a server for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options
from mien.cli.console import Commands, note, print_json, print_rows
from mien.cli.enrol import moment
from mien.cli.serve_extra import needs_extra

if TYPE_CHECKING:
    from mien.server.keys import Key, Keys

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Keys of the server: who may ask for what.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of whoever has the key: letters, digits and ._@-.")]


@app.command()
def add(
    name: Name,
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="analyze, gallery:read, gallery:write (and read) or admin (all); may be given several times.",
        ),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="WHEN", help="A date, or 30d for days; never, by default.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a key. It is shown once: only a hash of it is kept."""
    from typing import cast

    with needs_extra():
        from mien.server.keys import Scope

        text, key = _keys().add(name, cast("tuple[Scope, ...]", tuple(scope)), moment(expires) if expires else None)
    if as_json:
        print_json({"schema": 1, "key": text, **_told(key, None)})
        return
    note(f"the key of {name}, who may: {', '.join(key.scopes)}; it is not shown again")
    typer.echo(text)


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the keys, without what would let somebody in."""
    with needs_extra():
        keys = _keys()
    used, kept = keys.used(), keys.all()
    if as_json:
        print_json({"schema": 1, "keys": [_told(key, used.get(key.id)) for key in kept]})
        return
    columns = ["name", "scopes", "created", "expires", "last used"]
    print_rows(columns, [_row(key, used.get(key.id)) for key in kept])


@app.command()
def revoke(name: Name) -> None:
    """Remove a key; servers that run refuse it from the next request on."""
    with needs_extra():
        _keys().revoke(name)
    note(f"the key of {name} lets nobody in any more")


def _keys() -> Keys:
    from mien.server.keys import Keys, server_folder

    return Keys(server_folder(None))


def _told(key: Key, used: str | None) -> dict[str, object]:
    return key.to_dict() | ({"used": used} if used else {})


def _row(key: Key, used: str | None) -> list[str]:
    expires = "never" if key.expires is None else key.expires.date().isoformat()
    return [key.name, ", ".join(key.scopes), key.created.date().isoformat(), expires, used or "never"]
