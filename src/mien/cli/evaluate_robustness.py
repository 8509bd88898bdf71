"""`mien evaluate robustness`: how verification and expression fare as pictures get worse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import evaluate_expression, options
from mien.cli.console import exit_for_unreadable, print_json, progress_bar, stdout, table
from mien.cli.targets import REPORT_FORMATS, check_report, check_target, report_page
from mien.errors import MienError
from mien.ops.atomic import write_whole
from mien.ops.files import printable

if TYPE_CHECKING:
    from mien.datasets.base import ImageSet
    from mien.evaluation.expression import Cut
    from mien.evaluation.robustness import Find, RobustnessReport
    from mien.models.embedding import Mode
    from mien.types import ImageArray

_LEAST = 2  # of a sample: one of each kind
_MOST_TOLD = 10  # pictures that cannot be read
_SHEETS = (".png", ".jpg", ".jpeg")


def robustness(
    *,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Verification: LFW's pairs.txt, or path_a,path_b,same; with --root.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="Folder of the pictures of --pairs.")] = None,
    expression: Annotated[
        Path | None,
        typer.Option("--expression", help="Expression: FER+, FER2013, or a folder with one folder for each class."),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", help="Some of the kinds, separated by commas: blur,dark,mask; all by default."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--most", min=_LEAST, help="Measure a sample of so many pairs or pictures.")
    ] = None,
    fmr: Annotated[float, typer.Option("--fmr", help="Verification: the record's threshold for this rate.")] = 1e-3,
    detector: options.Detector = options.DETECTOR,
    embedder: options.Embedder = options.EMBEDDER,
    accurate: options.Accurate = False,
    model: Annotated[
        str, typer.Option("--model", help="Expression: name of a model, or path of an ONNX file.")
    ] = evaluate_expression.MODEL,
    split: Annotated[
        str | None, typer.Option("--split", help="Expression: train, validation or test, where the data have parts.")
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Expression: find the face and cut it; by default pictures are cut faces.")
    ] = False,
    as_json: options.Json = False,
    out: Annotated[Path | None, typer.Option(help="Write the report here (.json, .md, .html).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves here (.png, .svg, .pdf).")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Show here what each strength does to one of the pictures (.png, .jpg).")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep figures in this file, and go on from those that it holds.")
    ] = None,
    threads: options.Threads = 0,
    device: options.Device = "cpu",
    precision: options.Precision = None,
) -> None:
    """How dark, blurred, noisy, small, turned or hidden may faces be? Accuracy at every strength of each kind.

    Of a pair, the second picture is made worse, and the first stays as it is. Thresholds stay those of clean pictures.
    """
    from mien.evaluation.robustness import check_kinds

    chosen = check_kinds([name.strip() for name in (kinds or "").split(",") if name.strip()])
    plan = _Plan(chosen, most, samples, keep, threads, device, precision)
    _check_data(pairs, root, expression)
    check_report(out, (plot,), formats=REPORT_FORMATS)
    plan.check()
    if pairs is not None and root is not None:
        mode: Mode = "accurate" if accurate else "fast"
        report = _verification(plan, pairs, root, detector=detector, embedder=embedder, mode=mode, fmr=fmr)
    else:
        assert expression is not None  # noqa: S101 - for the type checker
        report = _expression(plan, evaluate_expression.open_data(expression, split), model, align=align)
    _print(report, as_json=as_json)  # first: a full disk must not take what minutes of work gave
    _write(report, out, plot)
    exit_for_unreadable([bad.reason for bad in report.unreadable], most=_MOST_TOLD)


@dataclass(frozen=True)
class _Plan:
    """What both tasks are asked for alike."""

    kinds: tuple[str, ...]
    most: int | None
    samples: Path | None
    keep: Path | None
    threads: int
    device: str
    precision: str | None

    @property
    def setup(self) -> dict[str, str | int]:
        """What figures depend on beside data and models."""
        return {} if self.precision is None else {"precision": self.precision}

    def check(self) -> None:
        """Refuse files that cannot be written, before minutes of work."""
        for path in (self.samples, self.keep):
            if path is not None:
                check_target(path)
        if self.samples is not None and self.samples.suffix.lower() not in _SHEETS:
            raise MienError(f"{printable(self.samples)}: not a format for samples; use {', '.join(_SHEETS)}")

    def show(self, images: Iterable[ImageArray], find: Find) -> None:
        """Write the sheet of samples, if one is wanted: of the first picture that shows a face."""
        from mien.evaluation.robustness_plots import sample_sheet
        from mien.ops.image import save_image

        if self.samples is None:
            return
        for image in images:
            if (landmarks := find(image)) is not None:
                save_image(self.samples, sample_sheet(image, landmarks, self.kinds))
                return


def _check_data(pairs: Path | None, root: Path | None, expression: Path | None) -> None:
    if (pairs is None) == (expression is None):
        raise MienError("say what to measure: either --pairs FILE --root FOLDER, or --expression DATA")
    if (pairs is None) != (root is None):
        raise MienError("--pairs and --root go together: the list of pairs, and the folder of their pictures")


def _verification(
    plan: _Plan, pairs: Path, root: Path, *, detector: str, embedder: str, mode: Mode, fmr: float
) -> RobustnessReport:
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.robustness import evaluate_verification_robustness, sample_pairs, subject_landmarks
    from mien.ops.image import load_image

    listed = read_pairs(pairs, root)
    if plan.most is not None:
        listed = sample_pairs(listed, plan.most)
    analyzer = options.make_analyzer(
        detector=detector,
        embedder=embedder,
        accurate=mode == "accurate",
        threads=plan.threads,
        device=plan.device,
        precision=plan.precision,
    ).load()
    plan.show((load_image(listed.paths[i]) for i in listed.second), partial(subject_landmarks, analyzer.detector))
    with progress_bar("describing faces", results_last=True) as progress:
        return evaluate_verification_robustness(
            listed,
            analyzer,
            load_image,
            mode=mode,
            fmr=fmr,
            kinds=plan.kinds,
            setup=plan.setup,
            keep=plan.keep,
            progress=progress,
        )


def _expression(plan: _Plan, images: ImageSet, model: str, *, align: bool) -> RobustnessReport:
    from mien.evaluation.expression import FaceCutter
    from mien.evaluation.robustness import (
        evaluate_expression_robustness,
        landmarks_in_square,
        sample_images,
        subject_landmarks,
    )
    from mien.models.runtime import default_threads

    if plan.most is not None:
        images = sample_images(images, plan.most)
    classifier = evaluate_expression.open_classifier(
        model, threads=plan.threads, device=plan.device, precision=plan.precision
    )
    crop = evaluate_expression.crop_of(classifier)
    cut: Cut | None = None
    find: Find = partial(landmarks_in_square, crop)
    if align:
        detector = options.make_analyzer(only=("detect",), threads=plan.threads, device=plan.device).detector
        cut, find = FaceCutter(detector, crop), partial(subject_landmarks, detector)
    plan.show((images.read(i) for i in range(len(images))), find)
    setup: dict[str, str | int] = {"crops": "detected faces" if align else "as given"}
    setup |= {"threads": plan.threads or default_threads(), "device": plan.device, **plan.setup}
    with progress_bar("looking at faces", results_last=True) as progress:
        return evaluate_expression_robustness(
            images, classifier, find=find, cut=cut, kinds=plan.kinds, setup=setup, keep=plan.keep, progress=progress
        )


def _print(report: RobustnessReport, *, as_json: bool) -> None:
    from mien.evaluation.robustness_pages import about, columns, limit_columns, limits, rows

    if as_json:
        print_json(report.to_dict())
        return
    stdout().print(f"{about(report)}\n{report.protocol}", markup=False, highlight=False)
    stdout().print(table(columns(report), rows(report)))
    stdout().print(table(limit_columns(report), limits(report)))
    for note in report.notes:
        stdout().print(f"Note: {note}", markup=False, highlight=False)


def _write(report: RobustnessReport, out: Path | None, plot: Path | None) -> None:
    from mien.evaluation.robustness_plots import plot_curves

    if out is not None:
        write_whole(out, _page(report, out.suffix.lower()))
    if plot is not None:
        plot_curves(report, plot)


def _page(report: RobustnessReport, suffix: str) -> str:
    from mien.evaluation.robustness_pages import to_html, to_markdown
    from mien.evaluation.robustness_plots import report_pictures

    return report_page(report, suffix, to_markdown=to_markdown, to_html=to_html, pictures=report_pictures)
