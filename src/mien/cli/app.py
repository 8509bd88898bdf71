"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from mien import __version__
from mien.cli import (
    analyze,
    benchmark,
    cluster,
    evaluate,
    gallery,
    identify,
    models,
    optimize,
    serve,
    train,
    unlock,
    verify,
    video,
)
from mien.cli.console import Commands

app = typer.Typer(
    name="mien",
    cls=Commands,
    help="Find the faces in photographs, and tell whether two show one person.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the faces in photographs, name their expressions, and say who they are: people of your own gallery."""


app.command()(analyze.analyze)
app.command()(verify.verify)
app.command()(identify.identify)
app.add_typer(gallery.app, name="gallery")
app.command()(cluster.cluster)
app.command()(video.video)
app.command()(unlock.unlock)
app.add_typer(serve.app, name="serve")
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(train.app, name="train")
app.add_typer(optimize.app, name="optimize")
app.command()(benchmark.benchmark)
