"""`mien models`: the registered models, their weights, and how these come to this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from mien.cli import console

if TYPE_CHECKING:
    from mien.models.base import Record, WeightsFile
    from mien.models.store import WeightsStore

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


class Registry(Protocol):
    """What the commands need of `mien.models.registry`."""

    DEFAULTS: tuple[str, ...]
    """Names of the models that are used when nobody asks for others."""

    def records(self) -> Mapping[str, Record]:
        """All records, by name."""
        ...

    def record(self, name: str) -> Record:
        """One record; UnknownModelError if there is none."""
        ...


def _registry() -> Registry:
    # Late: the registry imports every model, and `--help` needs none of them.
    from mien.models import registry

    return registry


def _store() -> WeightsStore:
    # Late as well: `mien --help` and the other commands come past this module.
    from mien.models.store import WeightsStore

    return WeightsStore(progress=console.DownloadBars())


def make_app(registry: Callable[[], Registry] = _registry) -> typer.Typer:
    """The sub-commands.

    Args:
        registry: gives the registry; tests pass their own.
    """
    app = typer.Typer(cls=console.Commands, no_args_is_help=True, help="The models, their licences, and their weights.")

    @app.command("list")
    def list_(
        json: _JSON = False,
        markdown: Annotated[bool, typer.Option("--markdown", help="Print every model's card, in Markdown.")] = False,
    ) -> None:
        """List every model: task, size, licence, and whether its weights are here."""
        from mien.models.card import summary, to_markdown

        if markdown:
            typer.echo(to_markdown(registry().records().values()), nl=False)
            return
        store = _store()
        records, defaults = registry().records(), registry().DEFAULTS
        summaries = [
            summary(r, default=r.name in defaults, cached=store.is_cached(r.weights)) for r in records.values()
        ]
        if json:
            console.print_json(summaries, indent=2)
        else:
            console.print_rows(_COLUMNS, [_row(summary) for summary in summaries])

    @app.command()
    def pull(
        names: Annotated[list[str] | None, typer.Argument(help="Models; the defaults if none is named.")] = None,
        json: _JSON = False,
    ) -> None:
        """Fetch weights now, so that nothing is fetched later."""
        chosen = _chosen(registry(), names)
        paths = _store().pull_many([r.weights for r in chosen])
        places = {r.name: str(path) for r, path in zip(chosen, paths, strict=True)}
        if json:
            console.print_json(places, indent=2)
        else:
            console.print_rows(("model", "file"), list(places.items()))

    @app.command()
    def info(name: Annotated[str, typer.Argument(help="A model.")], json: _JSON = False) -> None:
        """Show everything that is known about one model."""
        record = registry().record(name)
        facts = dataclasses.asdict(record) | {"cached": _store().is_cached(record.weights)}
        if json:
            console.print_json(facts, indent=2)
        else:
            console.print_rows(("fact", name), [(key, _text(value)) for key, value in facts.items() if _told(value)])

    @app.command()
    def export(
        archive: Annotated[Path, typer.Argument(help="The archive to write.")],
        names: Annotated[list[str] | None, typer.Argument(help="Models; the defaults if none is named.")] = None,
        json: _JSON = False,
    ) -> None:
        """Write weights to one archive, for a machine without a network."""
        files = _weights(_chosen(registry(), names))
        _store().export(files, archive)
        _print_files(archive, [weights.filename for weights in files], json=json)

    @app.command("import")
    def import_(
        archive: Annotated[
            Path,
            typer.Argument(help="An archive of `export`, a package that holds weights, or a weights file."),
        ],
        json: _JSON = False,
    ) -> None:
        """Take weights from an archive; it is checked before any of it is used."""
        names = _store().import_(archive, _weights(list(registry().records().values())))
        _print_files(archive, names, json=json)

    return app


app = make_app()

_COLUMNS = ("name", "task", "size", "licence", "commerce", "default", "here")


def _chosen(registry: Registry, names: Sequence[str] | None) -> list[Record]:
    return [registry.record(name) for name in names or registry.DEFAULTS]


def _weights(records: Sequence[Record]) -> list[WeightsFile]:
    """The weights of the models, each file once: models may share one."""
    return list({record.weights.filename: record.weights for record in records}.values())


def _row(summary: Mapping[str, Any]) -> list[str]:
    shown = ((key, value) for key, value in summary.items() if key != "summary")  # `info` tells it
    return [console.megabytes(value) if key == "bytes" else _text(value) for key, value in shown]


def _told(value: object) -> bool:
    """Whether a fact says anything: False does, what is empty or absent does not."""
    return isinstance(value, bool) or bool(value)


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return "; ".join(f"{key}: {_text(item)}" for key, item in value.items() if _told(item))
        case tuple() | list():
            return ", ".join(_text(item) for item in value)
        case _:
            return str(value)


def _print_files(archive: Path, names: Sequence[str], *, json: bool) -> None:
    if json:
        console.print_json({"archive": str(archive), "files": list(names)}, indent=2)
    else:
        console.print_rows(("file",), [(name,) for name in names])
