"""`lockgate up --observe`: what is served goes on being watched. Serving itself: test_bring_up.py, the scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from lockgate.flows import bring_up, world
from lockgate.flows.cli.up import command
from lockgate.flows.observing import observe
from lockgate.flows.spec import Spec

SPEC = """
name: toy
model: {name: toy}
rollout: {steps: [{canary: {weight: 5}}], gates: {errors: {metric: error_rate}}}
"""


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done, in its order."""
    done: list[Any] = []

    @contextmanager
    def opened(spec: Spec) -> Iterator[Any]:
        yield SimpleNamespace(spec=spec, router=SimpleNamespace(feedback=None))
        done.append("closed")

    def served(*_: Any, restart_router: bool) -> Any:
        done.append("served again" if restart_router else "served")
        return "toy version 1", SimpleNamespace(target="eager")

    def watches(specs: Any, options: observe.Options, _: Any) -> None:
        done.append(([spec.name for spec in specs], options))

    monkeypatch.setattr(world, "world", opened)
    monkeypatch.setattr(bring_up, "bring_up", served)
    monkeypatch.setattr(observe, "observe", watches)
    return done


def test_it_watches_once_all_is_served_and_the_store_is_closed(happened: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "lockgate.yaml"
    file.write_text(SPEC)
    shown = CliRunner().invoke(command, [str(file), "--observe"])
    assert shown.exit_code == 0, shown.output
    assert "watch it with" not in shown.output
    served, closed, (names, options) = happened
    assert (served, closed, names) == ("served", "closed", ["toy"])
    assert options == observe.Options(
        "127.0.0.1:9090", "127.0.0.1:9464", 5.0, 30 * 86_400.0, 99.9, (), without=False, servers=[],
        grafana="127.0.0.1:3000",
    )  # fmt: skip


def test_without_it_nothing_is_watched(happened: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "lockgate.yaml"
    file.write_text(SPEC)
    shown = CliRunner().invoke(command, [str(file)])
    assert "watch it with `lockgate observe" in shown.output
    assert happened == ["served", "closed"]
