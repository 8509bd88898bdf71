"""Options that several commands share, and the analyzer they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.analyzer import FaceAnalyzer, Task
    from mien.evaluation.expression import Cut
    from mien.evaluation.verification import Describer
    from mien.models import base as models
    from mien.training.framing import Template
    from mien.video.smoothing import TrackSmoother

Detector = Annotated[str, typer.Option("--detector", help="Detector; see `mien models list`.")]
Embedder = Annotated[
    str,
    typer.Option("--embedder", help="Embedder; see `mien models list`. arcface:FILE.onnx for one of your own."),
]
ExpressionModel = Annotated[
    str | None,
    typer.Option(
        "--expression-model",
        metavar="NAME_OR_PATH",
        help="Expression model; see `mien models list`, or FILE.onnx for one that you trained.",
    ),
]
AttributesModel = Annotated[
    str | None,
    typer.Option(
        "--attributes-model",
        metavar="NAME_OR_PATH",
        help="Model for age and gender; see `mien models list`, or FILE.onnx for one that you trained.",
    ),
]
Size = Annotated[
    str,
    typer.Option(
        "--size",
        help="Longest side in pixels at which faces are searched; `full` for crowds and small faces.",
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option("--min-score", min=0.0, max=1.0, help="Lowest detection score; the detector's own by default."),
]
Accurate = Annotated[
    bool, typer.Option("--accurate", help="Average more views of each face: more accurate, and slower.")
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, max=256, help="Threads; 0 takes the cores there are, 8 at most.")
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, auto, cuda, coreml, directml, ... as the installed onnxruntime offers."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="auto|float32|int8",
        help="Of networks that have an int8 form; auto: int8 where this processor is faster at it (default: float32).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]

DETECTOR = "centerface"
EMBEDDER = "dlib-resnet"
SIZE = "640"


def input_size(text: str) -> int | Literal["full"]:
    """`full`, or a whole number of pixels.

    Raises:
        typer.BadParameter: neither.
    """
    if text == "full":
        return "full"
    if text.isdecimal() and len(text) <= 5 and 32 <= int(text) <= 16384:
        return int(text)
    raise typer.BadParameter(f"{text!r} is neither `full` nor a number of pixels from 32 to 16384", param_hint="--size")


def tasks(text: str | None, default: Sequence[Task], *, without: Sequence[str] = ()) -> tuple[Task, ...]:
    """Parse a list of tasks separated by commas; those of `without` are not proposed.

    Raises:
        typer.BadParameter: one is unknown.
    """
    from mien.analyzer import TASKS

    if text is None:
        return tuple(default)
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TASKS]
    if unknown or not names:
        wrong = f"unknown: {', '.join(unknown)}; " if unknown else ""
        raise typer.BadParameter(
            f"{wrong}choose from {', '.join(t for t in TASKS if t not in without)}", param_hint="--only"
        )
    return tuple(dict.fromkeys(cast("list[Task]", names)))


def checked_precision(text: str | None) -> models.Precision | None:
    """One of the words, or None.

    Raises:
        typer.BadParameter: it is none of them.
    """
    from mien.models.base import Precision

    words = get_args(Precision)
    if text is not None and text not in words:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(words)}", param_hint="--precision")
    return cast("models.Precision | None", text)


def make_analyzer(
    *,
    detector: str = DETECTOR,
    embedder: str = EMBEDDER,
    expression: str | None = None,
    attributes: str | None = None,
    only: Sequence[Task] = ("detect", "embed"),
    size: str = SIZE,
    threshold: float | None = None,
    accurate: bool = False,
    threads: int = 0,
    device: str = "cpu",
    precision: str | None = None,
) -> FaceAnalyzer:
    """An analyzer from the command line's words, with downloads shown as a progress bar on standard error."""
    from mien.analyzer import FaceAnalyzer
    from mien.cli.console import DownloadBars
    from mien.models.attributes import SHIPPED as SHIPPED_ATTRIBUTES
    from mien.models.expression import SHIPPED
    from mien.models.store import WeightsStore

    return FaceAnalyzer(
        detector=detector,
        embedder=embedder,
        expression=expression or SHIPPED,
        attributes=attributes or SHIPPED_ATTRIBUTES,
        only=only,
        size=input_size(size),
        threshold=threshold,
        accurate=accurate,
        threads=threads,
        device=device,
        precision=checked_precision(precision),
        store=WeightsStore(progress=DownloadBars()),
    )


def make_smoother(name: str | None, labels: Sequence[str], *, threads: int = 0, device: str = "cpu") -> TrackSmoother:
    """What says what tracks show over time.

    Args:
        name: of a temporal network, the path of one, or "average"; None: the network that comes with mien, where it
            is for these expressions, else a moving average.
        labels: of the expressions.
        threads: of the network.
        device: where it runs.

    Raises:
        ModelError: the network is for other expressions, or cannot be loaded.
    """
    from mien.cli.console import DownloadBars
    from mien.models.base import RuntimeOptions
    from mien.models.runtime import default_threads
    from mien.models.store import WeightsStore
    from mien.video.smoothing import load_smoother

    runtime = RuntimeOptions(threads or default_threads(), device)
    return load_smoother(labels, name, store=WeightsStore(progress=DownloadBars()), options=runtime)


def make_describer(
    *, detector: str, embedder: str, accurate: bool, threads: int, device: str, precision: str | None = None
) -> Describer:
    """An analyzer as evaluations of embedders want it: the subject of each picture."""
    from mien.evaluation.describe import SubjectDescriber
    from mien.ops.image import load_image

    analyzer = make_analyzer(
        detector=detector,
        embedder=embedder,
        accurate=accurate,
        threads=threads,
        device=device,
        precision=precision,
    )
    return SubjectDescriber(analyzer.load(), load_image, mode="accurate" if accurate else "fast")


def face_cut(size: int, template: Template, *, threads: int = 0, device: str = "cpu") -> Cut:
    """Finds the face of a photograph and cuts it as `mien analyze` will."""
    from mien.evaluation.expression import FaceCutter
    from mien.models.base import CropSpec

    analyzer = make_analyzer(only=("detect",), threads=threads, device=device)
    return FaceCutter(analyzer.detector, CropSpec(size, template))
