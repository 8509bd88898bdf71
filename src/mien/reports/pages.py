"""Pages of HTML that need nothing else: they hold their style and their pictures, no script and no link.

They are readable dark and light, and on a phone. Names of people, classes and files come from outside: each is escaped
where it is written.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from mien.ops.files import printable

__all__ = ["escaped", "html_figures", "html_list", "html_page", "html_pictures", "html_table"]


def html_page(title: str, body: Sequence[str]) -> str:
    """One file that needs nothing else."""
    return _PAGE.format(title=escaped(title), style=_STYLE, body="\n".join(body))


def html_pictures(pictures: Mapping[str, bytes], *, broad: bool = False) -> list[str]:
    """PNG files, held in the page, under what they show.

    Args:
        pictures: by what they show.
        broad: whether they are as broad as the page; on a narrow one they are moved sideways, and stay readable.
    """
    held = {escaped(what): base64.b64encode(picture).decode("ascii") for what, picture in pictures.items()}
    before, after = ('<div class="wide broad">', "</div>") if broad else ("", "")
    return [
        f'<h2>{what}</h2>{before}<img alt="{what}" src="data:image/png;base64,{data}">{after}'
        for what, data in held.items()
    ]


def escaped(text: str) -> str:
    """Text that HTML shows as it is."""
    return html.escape(printable(text), quote=True)


def html_figures(figures: Mapping[str, str]) -> str:
    """A few figures in large letters, by what they are."""
    shown = "".join(f"<div><strong>{escaped(value)}</strong>{escaped(what)}</div>" for what, value in figures.items())
    return f'<div class="figures">{shown}</div>'


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> str:
    """An HTML table; the first column is names, and no columns make no head.

    Args:
        columns: their titles.
        rows: of cells.
        text: whether cells hold words, in lines, and no figures.
    """
    kind = ' class="text"' if text else ""
    head = f"<thead><tr>{''.join(f'<th>{escaped(column)}</th>' for column in columns)}</tr></thead>" if columns else ""
    lines = [
        f'<tr><th scope="row">{escaped(name)}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    ]
    return f'<div class="wide"><table{kind}>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def html_list(title: str, lines: Sequence[str]) -> list[str]:
    """Lines under a title; nothing without lines."""
    if not lines:
        return []
    return [f"<h2>{escaped(title)}</h2>", f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>"]


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dee4; --soft: #667; --link: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b; --line: #333a42; --soft: #9aa4af; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
small { color: var(--soft); } .big { font-size: 2.5rem; font-weight: 600; margin: .5rem 0; }
.big small { font-size: 1rem; font-weight: 400; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; white-space: pre-wrap; }
thead th { color: var(--soft); white-space: normal; vertical-align: bottom; overflow-wrap: normal; }
tbody th:first-child { min-width: min(11rem, 30vw); position: sticky; left: 0; background: var(--paper); }
.text th, .text td { text-align: left; vertical-align: top; } .text td { white-space: normal; }
.matrix th, .matrix td { padding: .3rem .45rem; font-size: .875rem; }
img { display: block; width: 100%; max-width: 44rem; border-radius: .5rem; background: #fff; padding: .5rem; }
.broad img { max-width: none; min-width: 44rem; }
.figures { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0; color: var(--soft); }
.figures strong { display: block; font-size: 1.75rem; line-height: 1.2; color: var(--ink); }
.note { border-left: .25rem solid var(--line); padding-left: .75rem; color: var(--soft); font-size: .9375rem; }
ul { padding: 0; list-style: none; font-variant-numeric: tabular-nums; }
li { padding: .15rem .7rem; border-bottom: 1px solid var(--line); }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
