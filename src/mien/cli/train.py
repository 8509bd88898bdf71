"""`mien train`: models of one's own. Each command is in a file of its own."""

from __future__ import annotations

import typer

from mien.cli.console import Commands
from mien.cli.train_attributes import attributes
from mien.cli.train_classical import classical
from mien.cli.train_expression import expression
from mien.cli.train_temporal import temporal

app = typer.Typer(cls=Commands, help="Train a model of your own on labelled pictures.", no_args_is_help=True)


app.command()(expression)
app.command()(attributes)
app.command()(classical)
app.command()(temporal)
