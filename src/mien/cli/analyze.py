"""`mien analyze`: the faces of files, folders and standard input, as a table, JSON, or annotated pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import options, pictures
from mien.cli.console import counted, print_json, stdout, table
from mien.ops.files import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mien.analyzer import Task
    from mien.cli.pictures import Described
    from mien.types import Faces


def analyze(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders (searched through), globs, or - for standard input."),
    ],
    as_json: options.Json = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures into this folder.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help=(
                "What to do, separated by commas: detect, pose, expression, age, gender, eyes, mouth, embed, quality;"
                " detect, pose, expression and quality by default."
            ),
        ),
    ] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Include the embeddings in the JSON.")] = False,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    expression_model: options.ExpressionModel = None,
    attributes_model: options.AttributesModel = None,
    size: options.Size = options.SIZE,
    min_score: options.MinScore = None,
    accurate: options.Accurate = False,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """Find and describe the faces of pictures.

    With --json one picture gives one JSON object, and many give one object a line. A file that cannot be used never
    stops the others: failures are listed at the end, and the exit code is then 2.
    """
    tasks = _tasks(only, embeddings=embeddings)
    if expression_model is not None and "expression" not in tasks:
        raise typer.BadParameter("needs no --only, or one with expression", param_hint="--expression-model")
    if attributes_model is not None and not {"age", "gender"} & set(tasks):
        raise typer.BadParameter("needs --only with age or gender", param_hint="--attributes-model")
    if embeddings and not (as_json and "embed" in tasks):
        raise typer.BadParameter("needs --json, and no --only without embed", param_hint="--embeddings")
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        expression=expression_model,
        attributes=attributes_model,
        only=tasks,
        size=size,
        threshold=min_score,
        accurate=accurate,
        threads=threads,
        device=device,
        precision=precision,
    )
    if "embed" in tasks and not embeddings:
        embeddings = as_json  # asked for by --only
    with pictures.Output(print_json if as_json else _print_table, paths, save) as output:
        for result in pictures.analyse(analyzer, output.files, keep_images=save is not None):
            output.add(result, lambda faces: _described(faces, embeddings=embeddings))


def _tasks(only: str | None, *, embeddings: bool) -> tuple[Task, ...]:
    """What to do: as `--only` says, or the usual, with embeddings where they are asked for."""
    from mien.analyzer import DEFAULT_TASKS

    return options.tasks(only, [task for task in DEFAULT_TASKS if task != "embed" or embeddings])


def _described(faces: Faces, *, embeddings: bool) -> Described:
    """The JSON of the faces, and their labels on an annotated picture."""
    dicts = faces.to_dicts(embeddings=embeddings)
    shown = [", ".join(filter(None, _said(face))) or f"{face['score']:.2f}" for face in dicts]
    return dicts, [f"{i}  {text}" for i, text in enumerate(shown, 1)]


def _class(answer: dict[str, Any]) -> str:
    """The class of a face in words: "happiness 0.93", "uncertain (sadness 0.41)"."""
    best = max(answer["scores"], key=answer["scores"].__getitem__)
    said = f"{best} {answer['confidence']:.2f}"
    return said if answer["label"] == best else f"{answer['label']} ({said})"


def _age(answer: dict[str, Any]) -> str:
    """Years and how sure that is: "34 ± 5"."""
    return f"{answer['years']:.0f} ± {answer['sd']:.0f}"


def _state(answer: dict[str, Any]) -> str:
    """Of an eye or a mouth: "open 0.98"."""
    return f"{'open' if answer['open'] else 'closed'} {answer['confidence']:.2f}"


def _eyes(answer: dict[str, Any]) -> str:
    """Both: "open 0.98, closed 0.71"."""
    return f"{_state(answer['left'])}, {_state(answer['right'])}"


_WORDS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "expression": _class,
    "age": _age,
    "gender": _class,
    "eyes": _eyes,
    "mouth": _state,
}
"""By its key in the JSON: how an answer is said in a table, and on a picture."""


def _said(face: dict[str, Any]) -> list[str]:
    """Every answer about a face in words."""
    return [say(face[key]) for key, say in _WORDS.items() if key in face]


def _print_table(record: dict[str, Any]) -> None:
    faces, image = record["faces"], record["image"]
    title = f"{printable(image['path'])}  {image['width']} x {image['height']}  {counted(len(faces), 'face')}"
    columns = ["face", "score", "box x1, y1, x2, y2"]
    rows = [
        [str(i), f"{face['score']:.2f}", ", ".join(f"{value:.0f}" for value in face["box"])]
        for i, face in enumerate(faces, 1)
    ]
    answered = [key for key in _WORDS if any(key in face for face in faces)]
    if answered:
        columns += answered
        rows = [[*row, *map(printable, _said(face))] for row, face in zip(rows, faces, strict=True)]
    else:  # both would not fit a terminal
        columns.append("eyes (left, right)")
        eyes = [", ".join(f"({x:.0f}, {y:.0f})" for x, y in face["landmarks"][:2]) for face in faces]
        rows = [[*row, places] for row, places in zip(rows, eyes, strict=True)]
    if any("quality" in face for face in faces):
        columns.append("quality")
        rows = [[*row, f"{face['quality']['score']:.2f}"] for row, face in zip(rows, faces, strict=True)]
    console = stdout()
    console.print(title, style="bold", highlight=False, markup=False, soft_wrap=True)
    if rows:
        console.print(table(columns, rows))
    for i, face in enumerate(faces, 1):
        if advice := face.get("quality", {}).get("advice"):
            console.print(f"face {i}: {_advised(advice)}", markup=False, highlight=False)


def _advised(codes: list[str]) -> str:
    """What to do about a face, in the language of the terminal: English, or Chinese."""
    from mien.ops.advice import texts

    spoken = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "；".join(texts(codes, "zh")) if spoken.startswith("zh") else "; ".join(texts(codes, "en"))
