"""The figures as tables in markdown, as docs/performance.md shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .figures import Figures

BEGIN, END = "<!-- begin: benchmarks.serving writes this -->", "<!-- end: benchmarks.serving -->"


def tables(results: Mapping[str, Figures]) -> str:
    return "\n\n".join(_of(name, found) for name, found in results.items())


def write(results: Mapping[str, Figures], page: Path, picture: Path | None = None) -> None:
    """Between the two marks on the page, under the picture. Raises `ValueError` where it has none."""
    text = page.read_text(encoding="utf-8")
    marked = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"{page} has no place for the tables; write into it: {BEGIN} {END}")
    shown = f"![requests/s at equal latency, and p99 at fixed rates]({picture.name})\n\n" if picture else ""
    block = f"{BEGIN}\n\n{shown}{tables(results)}\n\n{END}"
    page.write_text(marked.sub(lambda _match: block, text), encoding="utf-8")


def _of(name: str, found: Figures) -> str:
    bound, fixed = found["bound_ms"], _fixed(found)
    at = f"p50 / p99 ms at {fixed} /s" if fixed else "p50 / p99 ms"
    head = (
        f"| {name} | requests/s (connections) | p50 / p99 ms | CPU us a request | holds, /s | {at} | MiB | ready s |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    rows = [_row(side, fixed) for side in found["sides"].values() if not side["lost"]]
    engine = f"engine alone {found['engine_rps']:,.0f} calls/s, with decoding and encoding "
    engine += f"{found['engine_and_codec_rps']:,.0f}; {found['rounds']} rounds of {found['seconds']:g} s"
    left = [f"{side['title']}: {side['lost']}" for side in found["sides"].values() if side["lost"]]
    left += [f"{peer}: {why}" for peer, why in found.get("skipped", {}).items()]
    tail = f"\nNot measured: {'; '.join(left)}." if left else ""
    return f"{head}\n" + "\n".join(rows) + f"\n\np99 within {bound:g} ms; {engine}; on {found['machine']}.{tail}"


def _fixed(found: Figures) -> str | None:
    """The lowest rate: the one that most of them hold."""
    rates = sorted({float(rate) for side in found["sides"].values() for rate in side["open"]})
    return f"{rates[0]:g}" if rates else None


def _row(side: Figures, fixed: str | None) -> str:
    best, at = side["best"], side["open"].get(fixed)
    cpu = _cpu(best) if best else "-"
    cells = [
        side["title"] if side["model_server"] or "Lockgate" in side["title"] else f"{side['title']} (a framework)",
        f"{best['rps']:,.0f} ({best['connections']}){'' if best['within'] else ' beyond the bound'}",
        _latencies(best),
        cpu,
        f"{side['highest_rate_held']:g}" if side["highest_rate_held"] else "-",
        _latencies(at) if at is None or at["held"] else "not held",
        str(side["memory_mib"]),
        f"{side['ready_s']:.1f}" if side["ready_s"] is not None else "",
    ]
    return f"| {' | '.join(cells)} |"


def _cpu(best: Figures) -> str:
    router = best.get("router_cpu_us")
    return f"{best['cpu_us']:,.0f}" + (f" + {router:,.0f}" if router else "")


def _latencies(of: Figures | None) -> str:
    return f"{of['p50_ms']:.2f} / {of['p99_ms']:.1f}" if of else "-"
