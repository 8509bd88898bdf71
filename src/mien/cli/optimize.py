"""`mien optimize`: smaller, faster networks, behind an accuracy gate. Each command is in a file of its own."""

from __future__ import annotations

import typer

from mien.cli.console import Commands
from mien.cli.optimize_prune import prune
from mien.cli.optimize_quantize import quantize

app = typer.Typer(
    cls=Commands, help="Make a network smaller and faster; what loses too much is not written.", no_args_is_help=True
)


app.command()(quantize)
app.command()(prune)
