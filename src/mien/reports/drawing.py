"""What all plots share: the figure, the palette, and how it is written; matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mien.errors import MienError
from mien.ops.atomic import written_whole

# Okabe and Ito's palette: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MUTED = "#666666"
FORMATS = (".png", ".svg", ".pdf")
"""What plots can be written as."""

_OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS",
)  # fmt: skip
_TIGHT: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.1}  # no name is cut off, however long


def new_figure(size: tuple[float, float] = (7, 4.6)) -> Any:
    """An empty figure, without pyplot: no global state, no display, safe in any thread.

    Raises:
        MienError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MienError("plotting needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(figure: Any, *place: int) -> Any:
    """Axes with a faint grid and no frame above and to the right."""
    axes = figure.add_subplot(*place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def figure_and_axes(size: tuple[float, float] = (7, 4.6)) -> tuple[Any, Any]:
    """An empty figure with one pair of axes."""
    figure = new_figure(size)
    return figure, plain_axes(figure)


def percent() -> Any:
    """Formats 0.9925 as 99.25 %, with as many decimals as the ticks need."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0)


def check_plot(path: Path) -> None:
    """Find out ahead whether a plot can be drawn.

    Args:
        path: where it is to be written.

    Raises:
        MienError: matplotlib is not installed, or the suffix names no format for plots.
    """
    new_figure()
    _check_format(path)


def save(figure: Any, path: Path) -> None:
    """Write the figure in the format that the suffix names.

    Raises:
        MienError: the suffix names none, or the file cannot be written.
    """
    _check_format(path)
    try:
        with written_whole(path) as temporary, _any_script(figure):
            figure.savefig(temporary, format=path.suffix.lower().lstrip("."), **_TIGHT)
    except OSError as error:
        raise MienError(f"{path}: cannot be written ({error.strerror or error})") from error


def png(figure: Any) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    with _any_script(figure):
        figure.savefig(buffer, format="png", **_TIGHT)
    return buffer.getvalue()


@contextmanager
def _any_script(figure: Any) -> Iterator[None]:
    """Draw names in any script: with the fonts that are there, and as boxes in silence where there is none."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(_families())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


@cache
def _families() -> list[str]:
    """The font of matplotlib, and after it those for other scripts that are installed."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)]


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a `$` starts no formula."""
    return text.replace("$", r"\$")


def _check_format(path: Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise MienError(f"{path}: not a format for plots; use {', '.join(FORMATS)}")
