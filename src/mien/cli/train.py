"""`mien train`: models of one's own. Each command is in a file of its own."""

from __future__ import annotations

import typer

from mien.cli.console import Commands
from mien.cli.train_classical import classical

app = typer.Typer(cls=Commands, help="Train a model of your own on labelled pictures.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train a model of your own on labelled pictures."""
    # Keeps a command a command while it is the only one.


app.command()(classical)
