"""`mien gallery key`: make the key of an encrypted gallery, and change it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import galleries, options
from mien.cli.console import Commands, note, print_json, stdout
from mien.ops.files import printable

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The key of an encrypted gallery.")


@app.command()
def new(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A new file, which only you may read.")] = None,
    keyring: Annotated[
        str | None, typer.Option("--keyring", metavar="NAME", help="Keep it in the system's keyring instead.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw a key at random and keep it; a key that is there already is never overwritten."""
    from mien.gallery.encryption import new_key

    if (file is None) == (keyring is None):
        raise typer.BadParameter("either FILE or --keyring NAME", param_hint="FILE")
    source = f"keyring:{keyring}" if file is None else f"file:{file}"
    key = new_key(source)
    if as_json:
        print_json({"schema": 1, "key": source, "id": key.id})
        return
    _say(f"{source}: a new key, of id {key.id}")
    note("keep a copy elsewhere: without the key, what it encrypts is lost")


@app.command()
def rotate(
    gallery: galleries.GalleryUrl = galleries.URL,
    key: galleries.KeySource = None,
    new_key: Annotated[
        str | None,
        typer.Option("--new-key", metavar="SOURCE", help="Where the new key is: file:PATH, env:NAME or keyring:NAME."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Keep it without encryption from now on.")] = False,
    as_json: options.Json = False,
) -> None:
    """Encrypt a gallery anew with another key, or for the first time (without --key), or no longer (--plain).

    Whatever interrupts it, the gallery has the old key or the new one. Others who have it open then open it anew.
    """
    if (new_key is None) != plain:
        raise typer.BadParameter("either --new-key SOURCE or --plain", param_hint="--new-key")
    with galleries.open_gallery(gallery, key) as opened:
        opened.rekey(new_key)
        info, faces = opened.info, opened.count()[1]
    if as_json:
        print_json({"schema": 1, "gallery": info.to_dict(), "key_id": info.key_id, "faces": faces})
        return
    how = "not encrypted any more" if info.key_id is None else f"encrypted with the key of id {info.key_id}"
    _say(f"{opened.url}: {faces:,} face{'' if faces == 1 else 's'}, {how}")


def _say(text: str) -> None:
    stdout().print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)
