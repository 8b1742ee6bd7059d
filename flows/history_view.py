"""A model's story for the terminal: every rollout with its events, and all of them in one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lockgate.flows import view
from lockgate.flows.approval.words import line, seen

_STYLE = {"promoted": "bold green", "rolled back": "bold red", "rolling back": "red", "not served": "bold red"}
_SIGNS = {"passed": ("✔", "green"), "now": ("▶", "cyan"), "ended": ("✖", "red"), "skipped": ("»", "yellow")}


def rollout(story: dict[str, Any]) -> RenderableType:
    """One rollout: what was served, then every event with its reasons, a line for each day."""
    parts: list[RenderableType] = [view.rollout({**story, "gates": []})]
    parts += [Text(seen(said), style="dim") for said in served(story)]
    for day, lines in groupby(story["events"], key=lambda line: _day(line["at"])):
        parts += [Text(day, style="dim"), view.events(list(lines))]
    return Group(*parts)


def served(story: dict[str, Any]) -> Iterator[str]:
    """A sentence for each challenger that was built: what it became, its parity, and who registered it."""
    for side, it in story["served"].items():
        if side == "stable" or not it["target"]:
            continue
        by = f", registered by {story['registered_by']}" if story["registered_by"] and _is_ours(story, it) else ""
        proven = f": {it['parity']}" if it["parity"] else ""
        what = f"{it['target']} {it['precision']}".strip()
        yield f"version {it['version']} is {what}{by}{proven}"


def _is_ours(story: dict[str, Any], side: dict[str, str]) -> bool:
    return side["version"] == str(story["candidate_version"])


def _day(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%A, %d %B %Y")


def table(stories: Sequence[dict[str, Any]]) -> Table:
    """A row for each rollout."""
    found = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    spoken = any(story["decisions"] for story in stories)
    for name in ("opened", "version", "compiled to", "steps", *(["said"] * spoken), "outcome"):
        found.add_column(name, overflow="fold", ratio=_WIDE.get(name))
    for story in stories:
        found.add_row(
            Text(_minute(story["opened_at"]), style="dim", no_wrap=True),
            Text(f"{story['stable_version']} → {story['candidate_version']}", no_wrap=True),
            _compiled(story),
            _steps(story),
            *(["\n".join(map(said, story["decisions"]))] * spoken),
            _outcome(story),
        )
    return found


_WIDE = {"said": 2, "outcome": 3}


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _compiled(story: dict[str, Any]) -> str:
    it = story["served"].get(story["winner"] or "candidate") or {}
    return f"{it.get('target', '')} {it.get('precision', '')}".strip()


def _steps(story: dict[str, Any]) -> Text:
    out = Text()
    ended = {step["index"]: step["state"] for step in story["verdicts"]}
    for index, step in enumerate(story["steps"]):
        if sign := _SIGNS.get(ended.get(index, "")):
            out.append(f"{sign[0]} {step['step']}\n", style=sign[1])
    out.rstrip()
    return out


def said(one: dict[str, Any]) -> str:
    """Who decided what, and whether anybody vouches for that; without what a terminal would obey."""
    sure = " (identity not verified)" if one["what"] in ("approved", "rejected") and not one["verified"] else ""
    comment = f": {one['comment']}" if one["comment"] else ""
    return seen(f"{one['what']} by {one['by'] or 'somebody'}{sure}{comment}")


_REASON = 160
"""Characters; the whole of it stands above the table."""


def _outcome(story: dict[str, Any]) -> Text:
    out = Text(story["outcome"], style=_STYLE.get(story["outcome"], "cyan"))
    return out.append(f"\n{line(story['reason'], _REASON)}", style="dim") if story["reason"] else out
