"""What the search chooses, against eager and against trying everything: python -m benchmarks.compile --model mlp.

The search runs with an empty cache; then everything is compiled and measured to the end, with another empty cache.
Eager, the search's choice and all that came near the best are then timed once more in turn: those figures count.
Needs torch and numpy; targets whose libraries are missing are skipped and said. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lockgate.services.compile import cache as shelf
from lockgate.services.compile import picture, table
from lockgate.services.compile.apart import call
from lockgate.services.compile.search import search
from lockgate.services.compile.words import About, Candidate, Limits, Objective, Options, Row, Search

from . import gpu, machine, models
from .duel import Duel, duel

EAGER = Candidate("eager")
TARGETS = {
    "cpu": ("eager", "torchscript", "onnxruntime", "openvino", "aotinductor", "torch-compile"),
    "cuda": ("eager", "torchscript", "onnxruntime", "tensorrt", "torch-tensorrt", "aotinductor", "torch-compile"),
}
PRECISIONS = {"cpu": ("fp32", "bf16", "int8"), "cuda": ("fp32", "fp16")}
NEAR, MOST = 1.10, 4
"""Who came this near the best of the exhaustive search is timed again, so many at most."""
WITHIN_BEST, TIME_RATIO = 1.05, 0.5
"""What must hold."""
_LIMITS = Limits(seconds=1800.0, memory=16 * 2**30)


@dataclass(frozen=True, slots=True)
class Ran:
    """One search with a cache of its own."""

    search: Search
    about: About
    options: Options
    cache: Path

    def artifact(self, candidate: Candidate) -> Path:
        return self.cache / shelf.key(self.about, candidate, self.options) / shelf.ARTIFACT

    def rows(self) -> list[Row]:
        """Who kept parity and was timed to the end, the fastest first."""
        return sorted((r for r in self.search.rows if r.outcome in ("chosen", "kept")), key=table.speed)


def main() -> None:
    asked = _arguments()
    print(f"{machine.sentence(asked.device)}\n")
    names = list(models.KINDS) if asked.model == "all" else [asked.model]
    found = []
    for name in names:
        found.append(benchmark(name, asked))
        print(json.dumps(found[-1]), flush=True)
    if asked.model == "all":
        print(json.dumps(_all(found)))


def benchmark(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One model; a mapping for the JSON line."""
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as place:
        folder = Path(place)
        rows = asked.rows or models.KINDS[name].rows
        known = models.about(name, folder, rows)
        call(partial(models.prepare, name, known), folder / "prepare", _LIMITS)
        options = _options(asked, models.tolerance(rows))
        found = {"model": name, "device": asked.device, "threads": asked.threads, "parity_rows": rows}
        searched = _run(known, options, folder / "search", f"{name}: the search")
        _show(searched.search, asked, f"{name} on {asked.device}")
        whole = None
        if asked.exhaustive:
            everything = replace(options, thorough=True)
            whole = _run(known, everything, folder / "exhaustive", f"{name}: everything, to the end")
            _show(whole.search, asked)
        found |= _figures(searched, whole)
        if asked.device == "cuda":
            found["on_device"] = gpu.throughput(name, max(asked.batch))
        return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__)
    parser.add_argument("--model", choices=[*models.KINDS, "all"], default="mlp")
    parser.add_argument("--device", choices=list(TARGETS), default="cpu")
    parser.add_argument("--targets", type=_words, help="with commas between them; all that the device can run")
    parser.add_argument("--precision", type=_words, help="cpu: fp32,bf16,int8; cuda: fp32,fp16")
    parser.add_argument("--batch", type=lambda text: tuple(map(int, _words(text))), default=(1, 8, 32))
    parser.add_argument("--rows", type=int, help="on which parity is proven; fewer for large models")
    parser.add_argument("--threads", type=int, default=1, help="of one replica")
    parser.add_argument("--no-exhaustive", dest="exhaustive", action="store_false")
    parser.add_argument("--markdown", action="store_true", help="tables for a page")
    parser.add_argument("--picture", type=Path, help="write the search's picture here (needs matplotlib)")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _options(asked: argparse.Namespace, tolerance: Any) -> Options:
    """One artifact serves all batch sizes, so all of them decide: the geometric mean of their latencies."""
    targets, precisions = asked.targets or TARGETS[asked.device], asked.precision or PRECISIONS[asked.device]
    cells = [Candidate(target, precision) for target in targets for precision in precisions]
    return Options(
        candidates=tuple(dict.fromkeys([EAGER, *cells])),
        device=asked.device,
        tolerance=tolerance,
        objective=Objective(batch_sizes=tuple(asked.batch)),
        limits=_LIMITS,
        max_batch=max(asked.batch),
        threads=asked.threads,
    )


def _run(known: About, options: Options, cache: Path, what: str) -> Ran:
    print(f"{what} ({len(options.candidates)} candidates)", file=sys.stderr, flush=True)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:8.1f} s  {line}", file=sys.stderr, flush=True)

    with _empty_caches(cache):
        found = search(known, partial(models.opened, known), options, cache / "artifacts", say)
    return Ran(found, known, options, cache / "artifacts")


@contextmanager
def _empty_caches(folder: Path) -> Iterator[None]:
    """What Inductor and Triton kept from earlier runs would be compiling time that is not counted."""
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(folder / name.lower()) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _show(found: Search, asked: argparse.Namespace, title: str = "") -> None:
    print(table.markdown(found) if asked.markdown else table.text(found))
    print(f"\n{found.seconds:.0f} s; chosen: {found.chosen.candidate if found.chosen else 'nothing'}\n", flush=True)
    if asked.picture and title:
        picture.write(found, asked.picture, title)


def _figures(searched: Ran, whole: Ran | None) -> dict[str, Any]:
    """The search's choice held against eager, and against the best of the exhaustive search."""
    if searched.search.chosen is None:
        return {"chosen": None, "search_s": round(searched.search.seconds, 1), "ok": False}
    chosen = searched.search.chosen.candidate
    near = _near(whole) if whole else []
    places = {c: whole.artifact(c) for c in near if whole}
    places |= {c: searched.artifact(c) for c in (EAGER, chosen) if searched.artifact(c).is_dir()}
    fought = duel(places, searched.search.reference, searched.options)
    batches = searched.options.objective.batch_sizes
    found = {
        "chosen": str(chosen),
        "speedup_vs_eager": _speedup(fought, chosen, batches) if EAGER in places else None,
        "search_s": round(searched.search.seconds, 1),
    }
    if whole and whole.search.chosen:
        found |= _against_everything(fought, chosen, near, searched, whole)
    return found


def _near(whole: Ran) -> list[Candidate]:
    rows = whole.rows()
    return [row.candidate for row in rows if table.speed(row) <= NEAR * table.speed(rows[0])][:MOST]


def _speedup(fought: Duel, chosen: Candidate, batches: Sequence[int]) -> dict[str, float]:
    each = {f"batch_{b}": round(fought.ratio(EAGER, chosen, [b]), 3) for b in batches}
    return {**each, "overall": round(fought.ratio(EAGER, chosen, batches), 3)}


def _against_everything(
    fought: Duel, chosen: Candidate, near: list[Candidate], searched: Ran, whole: Ran
) -> dict[str, Any]:
    batches = searched.options.objective.batch_sizes
    ratios = {str(other): round(fought.ratio(chosen, other, batches), 3) for other in near}
    within, spent = max([1.0, *ratios.values()]), searched.search.seconds / whole.search.seconds
    return {
        "within_best": within,
        "search_time_ratio": round(spent, 3),
        "exhaustive_s": round(whole.search.seconds, 1),
        "ok": within <= WITHIN_BEST and spent <= TIME_RATIO,
        "chosen_over": ratios,
        "exhaustive_best": str(near[0]),
        "chosen_over_best_by_exhaustive_figures": _by_its_figures(chosen, whole),
    }


def _by_its_figures(chosen: Candidate, whole: Ran) -> dict[str, float]:
    """Of one run, over all batch sizes and at each alone, where another candidate may be the best."""
    rows = whole.rows()
    mine = next((row for row in rows if row.candidate == chosen), None)
    if mine is None:
        return {}
    found = {"overall": table.speed(mine) / table.speed(rows[0])}
    for i, timing in enumerate(mine.timings):
        found[f"batch_{timing.batch}"] = timing.p50 / min(row.timings[i].p50 for row in rows)
    return {name: round(value, 3) for name, value in found.items()}


def _all(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of each figure, and every model's."""
    keys = ("within_best", "search_time_ratio")
    worst = {key: max((f[key] for f in found if key in f), default=None) for key in keys}
    by_model = {key: {f["model"]: f.get(key) for f in found} for key in ("chosen", "speedup_vs_eager")}
    seconds = {key: round(sum(f.get(key, 0.0) for f in found), 1) for key in ("search_s", "exhaustive_s")}
    ok = all(f.get("ok") is not False for f in found)
    return {"model": "all", "device": found[0]["device"], **by_model, **worst, **seconds, "ok": ok, "models": found}


if __name__ == "__main__":
    main()
