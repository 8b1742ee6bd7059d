from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lockgate.registry.errors import Conflict, RegistryError
from lockgate.registry.mlflow_registry import MlflowRegistry


def aliases(shelf: Any) -> dict[str, str]:
    return {k: str(v) for k, v in shelf.client.get_registered_model("fraud").aliases.items()}


def test_a_crash_between_the_two_writes_heals_on_repeat(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.bare(versions=2)
    registry = shelf.registry()
    registry.assign("fraud", "1", expected=None)
    real = MlflowRegistry._point

    def dies(self: Any, name: str, alias: str, version: str) -> None:
        if alias == "champion":
            raise KeyboardInterrupt
        real(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowRegistry, "_point", dies)
        with pytest.raises(KeyboardInterrupt):
            registry.assign("fraud", "2", expected="1")
    assert aliases(shelf) == {"champion": "1", "previous": "1"}, "nothing has moved yet, and nothing is lost"

    registry.assign("fraud", "2", expected="1")

    assert aliases(shelf) == {"champion": "2", "previous": "1"}


def test_an_alias_that_another_moves_right_after_is_a_conflict(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.bare(versions=3)
    registry = shelf.registry()
    registry.assign("fraud", "1", expected=None)
    real = MlflowRegistry._point

    def overtaken(self: Any, name: str, alias: str, version: str) -> None:
        real(self, name, alias, version)
        if alias == "champion":
            shelf.point("champion", "3")

    monkeypatch.setattr(MlflowRegistry, "_point", overtaken)
    with pytest.raises(Conflict, match="names version 3 right after it was pointed at version 2"):
        registry.assign("fraud", "2", expected="1")


def test_eight_first_sets_at_once_all_succeed(shelf: Any) -> None:
    """MLflow inserts the row of a new alias after it looked for it: of eight, some hit the unique key."""
    for attempt in range(5):
        name = f"fraud-{attempt}"
        shelf.bare(name)
        registries = [shelf.registry() for _ in range(8)]
        for registry in registries:
            registry.resolve(name, "1")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda r, n=name: r.assign(n, "1", expected=None), registries))
        assert shelf.registry().champion(name) == "1"


def test_a_unique_violation_is_tried_again(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowException

    shelf.bare()
    registry = shelf.registry()
    client, failures = registry._client(), ["UNIQUE constraint failed: registered_model_aliases.name", "duplicate key"]
    real = client.set_registered_model_alias

    def racing(*call: Any) -> None:
        if failures:
            raise MlflowException(failures.pop())
        real(*call)

    monkeypatch.setattr(client, "set_registered_model_alias", racing)
    registry.assign("fraud", "1", expected=None)

    assert aliases(shelf) == {"champion": "1"}
    assert not failures


def test_two_promoters_may_both_believe_that_they_won(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why `expected` is no lock: MLflow has no compare-and-set. One open rollout per model, in our store, is the lock.

    The second promoter runs to its end between the first one's look and its write, and both return without an error.
    """
    shelf.bare(versions=3)
    registry, other = shelf.registry(), shelf.registry()
    registry.assign("fraud", "1", expected=None)
    real = MlflowRegistry._point
    ran: list[str] = []

    def interleaved(self: Any, name: str, alias: str, version: str) -> None:
        if not ran:
            ran.append("other")
            other.assign("fraud", "3", expected="1")
        real(self, name, alias, version)

    monkeypatch.setattr(MlflowRegistry, "_point", interleaved)
    registry.assign("fraud", "2", expected="1")

    assert aliases(shelf)["champion"] == "2"


def test_a_tag_that_mlflow_refuses_is_a_sentence(shelf: Any) -> None:
    shelf.bare()

    with pytest.raises(RegistryError, match="does not answer as it should"):
        shelf.registry().annotate("fraud", "1", {"a*b": "no star may be in a key"})


def test_tags_that_are_there_already_are_not_written_again(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.bare()
    registry = shelf.registry()
    registry.annotate("fraud", "1", {"phase": "progressing"})
    client, written = registry._client(), []
    monkeypatch.setattr(client, "set_model_version_tag", lambda *call: written.append(call))

    registry.annotate("fraud", "1", {"phase": "progressing", "decision": "pass"})

    assert written == [("fraud", "1", "lockgate.decision", "pass")]
