"""Two rollouts under live traffic: a better model that is promoted, and a broken one that is rolled back.

Trains a champion on the flights of January to March, a better challenger on April to June and a broken copy of it;
registers them in a local MLflow; replays the flights from July on as live traffic, and lets Lockgate do the rest. Ends
with a timeline, a picture and the counts; the last line is JSON. Exit code 0 when both rollouts ended as they should
and no request failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import timeline
import traffic
from counters import Counters
from rich.console import Console
from stage import DemoError, Stage, end, opened, stop

MODEL = "flight-delay"
_PROMOTED, _ROLLED_BACK = 0, 10
"""Exit codes of `lockgate run`."""
_AFTERWARDS = 8.0
"""Seconds of traffic after a rollout, so that the picture shows what it left."""
_say = Console(highlight=False)


@dataclass(frozen=True)
class Ending:
    """What the demo found."""

    told: timeline.Told
    splits: list[traffic.Split]
    moved_back: int
    summary: dict[str, Any]
    codes: tuple[int, int]
    champion: str

    @property
    def faults(self) -> list[str]:
        """What did not go as it should, each a sentence."""
        found = []
        for code, wanted, what in zip(
            self.codes, (_PROMOTED, _ROLLED_BACK), ("the better model", "the broken model"), strict=True
        ):
            if code != wanted:
                found.append(f"`lockgate run` for {what} ended with code {code} where {wanted} was expected")
        if self.summary["failed"] or self.summary["repeated"]:
            found.append(f"{self.summary['failed']} requests failed and {self.summary['repeated']} came twice")
        if self.moved_back:
            found.append(f"{self.moved_back} users were moved back from the candidate to stable")
        return found

    @property
    def drift(self) -> str:
        """What was said of the live inputs first; empty when nothing was."""
        events = [event for rollout in self.told.rollouts for event in rollout.get("events", ())]
        return next((str(event["reason"]) for event in events if event["what"].startswith("drift")), "")

    def line(self, seconds: float) -> dict[str, Any]:
        phases = [rollout["phase"] for rollout in self.told.rollouts]
        return {
            "requests": self.summary["requests"],
            "failed": self.summary["failed"],
            "repeated": self.summary["repeated"],
            "promoted": phases.count("succeeded"),
            "rolled_back": phases.count("rolled_back"),
            "champion": self.champion,
            "p50_ms": self.summary["p50_ms"],
            "p99_ms": self.summary["p99_ms"],
            "splits_within_bounds": all(split.within for split in self.splits),
            "users_moved_back": self.moved_back,
            "drift_found": bool(self.drift),
            "seconds": round(seconds, 1),
            "ok": not self.faults,
        }


def main() -> int:
    asked = _arguments()
    for one in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: what a shell starts in the background ignores it
        signal.signal(one, _interrupt)
    try:
        if asked.stop:
            stop(asked.dir)
            return 0
        return _demo(asked)
    except DemoError as error:
        _say.print(f"[red]{error}[/red]", soft_wrap=True)
    except KeyboardInterrupt:
        _say.print("interrupted; everything that the demo started is stopped")
        return 130
    return 1


def _demo(asked: argparse.Namespace) -> int:
    started = time.monotonic()
    stage = opened(asked.dir)
    os.environ.update(stage.environment)  # this process asks MLflow too
    try:
        versions = _train(stage)
        ending = _under_traffic(stage, versions, asked.rate)
        _show(stage, ending)
        if asked.keep:
            _keep(stage)
    finally:
        with _undisturbed():
            stage.close()
    if not asked.keep:
        _hint(stage)
    print(json.dumps(ending.line(time.monotonic() - started)), flush=True)
    return 1 if ending.faults else 0


def _train(stage: Stage) -> dict[str, str]:
    """Role → version."""
    _head("Train three models and register them in MLflow")
    words = ["--uri", stage.registry, "--artifacts", str(stage.root / "models")]
    with _say.status("training"):
        trained = stage.python("train.py", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        answer, noise = trained.communicate()
    if trained.returncode:
        raise DemoError(f"train.py ended with code {trained.returncode}; its last words were:\n{noise[-3000:]}")
    models = json.loads(answer.splitlines()[-1])["models"]
    for one in models:
        broken = "" if one["share_answered_live"] == 1 else f", NaN for {1 - one['share_answered_live']:.0%} of them"
        _say.print(
            f"version {one['version']}: {one['role']:<10} AUC {one['auc_live']:.3f} on the flights to come{broken}"
        )
    return {one["role"]: one["version"] for one in models}


def _under_traffic(stage: Stage, versions: dict[str, str], rate: float) -> Ending:
    _head("Serve the champion behind the router")
    _must(stage.lockgate("up", str(stage.spec)), "lockgate up")
    _head(f"Replay the flights from July on, {rate:g} requests/s, from a process of its own")
    with Counters(stage.metrics, stage.counters):
        replay = _replay(stage, rate)
        _say.print(f"asking {stage.url}")
        first = _rollout(stage, versions["challenger"], "a better model, trained on April to June")
        second = _rollout(stage, versions["broken"], "the same model with one feature scaled wrongly")
        summary = _summary(replay)
    rollouts = stage.history()
    requests = traffic.read_requests(stage.requests)
    return Ending(
        told=timeline.Told(requests, rollouts, traffic.read_counters(stage.counters)),
        splits=traffic.splits(requests, rollouts),
        moved_back=traffic.moved_back(requests, rollouts),
        summary=summary,
        codes=(first, second),
        champion=str(_registry(stage).get_model_version_by_alias(MODEL, "champion").version),
    )


def _replay(stage: Stage, rate: float) -> subprocess.Popen[str]:
    """The replay, once it has had its first good answer."""
    words = ["--url", stage.url, "--rate", f"{rate:g}", "--log", str(stage.requests)]
    replay = stage.python("replay.py", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert replay.stderr is not None  # noqa: S101 - we asked for the pipe
    if replay.stderr.readline().strip() != "asking":
        raise DemoError(f"replay.py did not get a first answer; its last words were:\n{replay.stderr.read()[-3000:]}")
    return replay


def _rollout(stage: Stage, version: str, what: str) -> int:
    _head(f"Version {version}, {what}")
    _registry(stage).set_registered_model_alias(MODEL, "challenger", version)
    _say.print(f"@challenger is version {version}; lockgate run {stage.spec.name}")
    code = stage.lockgate("run", str(stage.spec))
    _say.print(f"lockgate run ended with code {code}")
    time.sleep(_AFTERWARDS)
    return code


def _summary(replay: subprocess.Popen[str]) -> dict[str, Any]:
    end(replay)
    assert replay.stdout is not None  # noqa: S101 - we asked for the pipe
    lines = replay.stdout.read().splitlines()
    if not lines:
        raise DemoError(f"replay.py ended with code {replay.returncode} and without a summary")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _registry(stage: Stage) -> Any:
    import mlflow

    return mlflow.MlflowClient(stage.registry)


def _show(stage: Stage, ending: Ending) -> None:
    _head("What happened")
    _say.print(timeline.text(ending.told), soft_wrap=True)
    _say.print()
    for split in ending.splits:
        _say.print(
            f"version {split.candidate}, {split.step}: {split.users_candidate} of {split.users} users got the candidate"
            f" ({split.requests_candidate} of {split.requests} requests); 99 % binomial bounds"
            f" {split.low} to {split.high}: {'within' if split.within else 'OUTSIDE'}"
        )
    all_, failed = ending.summary["requests"], ending.summary["failed"]
    served = ", ".join(f"{n:,} by version {v or '?'}" for v, n in sorted(ending.summary["versions"].items()))
    colour = "red" if ending.faults else "green"
    _say.print(
        f"[bold {colour}]{all_:,} requests, {failed} failed, {ending.summary['repeated']} answered twice[/], {served};"
        f" p50 {ending.summary['p50_ms']} ms, p99 {ending.summary['p99_ms']} ms"
    )
    _say.print(f"@champion is version {ending.champion}")
    if ending.drift:
        _say.print(f"drift of the live inputs: {ending.drift.partition(';')[0]}", soft_wrap=True)
    for fault in ending.faults:
        _say.print(f"[red]{fault}[/red]", soft_wrap=True)
    timeline.draw(ending.told, stage.picture)
    _say.print(f"the picture   {stage.picture}", soft_wrap=True)
    _say.print(f"each request  {stage.requests}", soft_wrap=True)


def _keep(stage: Stage) -> None:
    page = stage.mlflow_server()
    stage.leave_running()
    _head("Left running")
    home = f"LOCKGATE_HOME={stage.root / 'lockgate'}"
    for what, where in (
        ("MLflow UI", f"{page} (in about 20 s)"),
        ("metrics", stage.metrics),
        ("predictions", stage.url),
        ("history", f"{home} {Path(sys.executable).with_name('lockgate')} history flights"),
        ("traffic", f"{sys.executable} {Path(__file__).with_name('replay.py')} --url {stage.url} --log more.jsonl"),
        ("stop it all", f"{sys.executable} {Path(__file__)} --dir {stage.root} --stop"),
    ):
        _say.print(f"{what:<12}  {where}", soft_wrap=True)


def _hint(stage: Stage) -> None:
    _say.print(f"MLflow UI     mlflow server --workers 1 --backend-store-uri {stage.registry}", soft_wrap=True)
    _say.print("              then http://127.0.0.1:5000/#/models/flight-delay", soft_wrap=True)
    _say.print(f"metrics       {stage.metrics} while it ran; `make demo KEEP=1` leaves it running", soft_wrap=True)


def _must(code: int, what: str) -> None:
    if code:
        raise DemoError(f"`{what}` ended with code {code}; its sentence is above")


def _head(text: str) -> None:
    _say.print()
    _say.rule(f"[bold]{text}[/bold]", align="left")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of it running."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".lockgate/flights"), help="the demo's folder")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--keep", action="store_true", help="leave it running for a look")
    parser.add_argument("--stop", action="store_true", help="only end what an earlier --keep left running")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
