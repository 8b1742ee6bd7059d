"""Pages that stand alone: HTML in one file, for a browser, a printer, or the viewer of MLflow's artifacts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from lockgate.flows.approval.words import OUTCOMES, address, outcome, seen

Cell = object
"""`Html`, or anything else, whose text is escaped."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: Cell) -> Html:
    return value if isinstance(value, Html) else Html(escape(seen(str(value))))


def tag(name: str, *inside: Cell, **attributes: str) -> Html:
    """An element; `class_` is `class`."""
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{said}>{''.join(map(text, inside))}</{name}>")


def section(title: str, *inside: Cell) -> Html:
    """Nothing where there is nothing inside."""
    return tag("section", tag("h2", title), *inside) if any(inside) else Html()


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> Html:
    """Nothing without rows. It scrolls where the page is narrower."""
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    if not body:
        return Html()
    heading = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    return tag("div", tag("table", heading, tag("tbody", *body)), class_="wide")


def pairs(rows: Iterable[tuple[str, Cell]]) -> Html:
    """Names and what they are; those that are nothing are left out."""
    return tag("dl", *(cell for name, value in rows if value for cell in (tag("dt", name), tag("dd", value))))


def badge(word: str) -> Html:
    """An outcome, told apart by its word and its colour."""
    return tag("b", outcome(word), class_=f"badge {word}" if word in OUTCOMES else "badge")


def number(shown: str) -> Html:
    """A cell that is not broken into two lines."""
    return tag("span", shown, class_="n")


def code(value: object) -> Html:
    return tag("code", value)


def picture(png: bytes | None, says: str) -> Html:
    """Nothing without a picture."""
    if not png:
        return Html()
    return Html(f'<img alt="{escape(says)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">')


def link(url: str, says: str) -> Html:
    """Nothing where it is not an address that a browser may follow."""
    if not address(url):
        return Html()
    return tag("a", says, href=url, rel="noopener noreferrer", target="_blank")


def page(title: str, *body: Cell) -> bytes:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{_RULES}'
    whole = f"<head>{head}{tag('title', title)}<style>{_STYLE}</style></head><body>{tag('main', *body)}</body>"
    return f'<!doctype html><html lang="en">{whole}</html>\n'.encode()


_RULES = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src'
    " 'unsafe-inline'\">"
)
"""No script runs in it, whatever finds its way there."""
_STYLE = """
:root{color-scheme:light;--ink:#16222e;--soft:#5b6b7b;--line:#dde4ea;--paper:#fff;--tint:#f5f8fa;--accent:#14577f}
*{box-sizing:border-box}
body{margin:0;background:var(--tint);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 24px 48px}
h1{font-size:26px;line-height:1.25;margin:0 0 8px}
h2{font-size:17px;margin:0 0 10px}
h3{font-size:15px;margin:16px 0 6px}
p{margin:0 0 10px;overflow-wrap:anywhere}
.lead{font-size:17px}.soft{color:var(--soft)}
section{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:16px 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);font-size:13px}
th,td{padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:break-word}td:last-child{min-width:12em}.n{white-space:nowrap}
tr:last-child td{border-bottom:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
a{color:var(--accent)}
img{max-width:100%;height:auto;display:block;margin:8px 0}
.badge{font-size:12px;padding:1px 8px;border-radius:10px;background:#e8edf2;color:#33424f;white-space:nowrap}
.pass{background:#dff2e5;color:#0b6331}.undecided{background:#fdf0cf;color:#755200}
.error,.fail{background:#fbe0dd;color:#a31e12}
@media print{body{background:#fff;font-size:11px}main{max-width:none;padding:0}
section{border:0;border-top:1px solid #999;border-radius:0;padding:8px 0;break-inside:avoid-page}
.wide{overflow:visible}a{color:inherit}}
"""
