"""Where versions that somebody else serves are: never the router itself; and where stable is until the promotion."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.flows import doctor, elsewhere, plan, tidy, wanted
from lockgate.flows.build import build
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec, load
from lockgate.registry.words import ModelVersion
from lockgate.rollout.traffic import Traffic
from lockgate.rollout.words import Endpoint, Phase, Routes
from lockgate.services import external, external_look
from lockgate.services.errors import NotReady
from lockgate.services.external import ExternalPlatform, Served
from lockgate.services.words import EXTERNAL, Bento

EXAMPLE = Path(__file__).parents[3] / "examples/external/lockgate.yaml"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nobody listens there
REFUSED = pytest.raises(NotReady, match=r"candidate is at .*, which is the router's own address")


def version(number: str) -> ModelVersion:
    return ModelVersion("fraud", number, f"models:/m-{number}", "", (), {})


def spec(**service: Any) -> Spec:
    document = load(EXAMPLE).document
    document["service"]["external"] |= service
    return Spec.of(document)


def of_bentos() -> Spec:
    document = load(EXAMPLE).document
    document["service"]["external"] = None
    return Spec.of(document)


@pytest.mark.parametrize(
    ("listen", "host", "end"),
    [
        (f"{EVERYWHERE}:9002", "127.0.0.1", REFUSED),
        (f"{EVERYWHERE}:9002", "127.9.9.9", REFUSED),
        ("127.0.0.1:9002", "::ffff:127.0.0.1", REFUSED),
        ("127.0.0.1:9002", EVERYWHERE, REFUSED),  # where that leads
        (f"{EVERYWHERE}:9002", "192.0.2.7", nullcontext()),  # nobody has it: it is for documentation
        (f"{EVERYWHERE}:9002", "::1", nullcontext()),
        (f"{EVERYWHERE}:9003", "127.0.0.1", nullcontext()),
        ("127.0.0.2:9002", "127.0.0.1", nullcontext()),
    ],
)
def test_nothing_is_routed_to_the_router_itself(listen: str, host: str, end: AbstractContextManager[Any]) -> None:
    made = {"candidate": Bento("external/fraud:v2-a", "fraud", "2", "a", EXTERNAL, "")}
    with end:
        elsewhere.check_apart(made, lambda _: {"candidate": (Endpoint(host, 9002),)}, Traffic(listen=listen))


def test_a_candidate_that_is_down_when_it_is_rolled_back_is_dropped_and_stable_is_not(tmp_path: Path) -> None:
    """As at a rollout's end; nobody listens at any of the places. What the rollout is about is remembered."""
    home, tags = Home(tmp_path, ""), {}
    folder = home.external("fraud")
    for number in "1234":
        places = (f"127.0.0.1:{number}",)
        bento = external.elsewhere("fraud", "fraud", number, places)
        external.keep(folder, Served(bento, places, "/ready", wanted=number < "3"))
        tags[number] = bento.tag
    for path in folder.glob("*.json"):
        os.utime(path, (0, 0))
    state = SimpleNamespace(
        phase=Phase.ROLLING_BACK,
        facts={"stable_bento": tags["1"], "candidate_bento": tags["2"], "small_bento": tags["4"]},
    )
    world: Any = SimpleNamespace(
        spec=spec(),
        home=home,
        platform=ExternalPlatform(folder, 1.0),
        router=SimpleNamespace(applied=lambda: Routes((Endpoint("127.0.0.1", 1),))),
        store=SimpleNamespace(
            open_of=lambda _: SimpleNamespace(id="r"),
            rollouts=lambda _: [SimpleNamespace(id="r")],
            last=lambda _: SimpleNamespace(state=state),
        ),
    )
    tidy.tidy(world)
    kept = {number: external.read(folder, tag) for number, tag in tags.items()}
    assert {number: one and one.wanted for number, one in kept.items()} == {
        "1": True,
        "2": False,
        "3": None,
        "4": False,
    }


def test_plan_and_doctor_say_what_serves_until_the_candidate_is_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, "")
    of = {"stable": version("1"), "candidate": version("2")}
    monkeypatch.setattr(plan, "resolved", lambda *_: list(of.values()))
    monkeypatch.setenv("LOCKGATE_HOME", str(home.root))
    assert plan.plan(spec())["serves"] is None
    wanted.up(home, spec().document, Bento("fraud:abc", "fraud", "1", "d", "eager"))
    found = plan.plan(spec())
    assert found["external"] == {"stable": [], "candidate": ["127.0.0.1:9002"]}
    words = "stable goes on as the bento fraud:abc, until the candidate is promoted and takes its place"
    assert found["serves"]["words"] == words
    said = [(check.part, check.state, check.says) for check in doctor.elsewhere(spec(), found)]
    assert said[0] == ("stable server", "ok", f"none is needed: {words}")
    theirs = build(spec(endpoints="127.0.0.3:900{version}", ready="/health"), version("1"), home, lambda _: None).bento
    for now in (spec(), of_bentos()):  # it was moved, and the way back
        found = plan.plan(now, lambda _: theirs)
        assert found["serves"]["words"].startswith("stable goes on at 127.0.0.3:9001, where somebody else serves it, ")
    monkeypatch.setattr(external_look, "asked", lambda _address, _port, path, _host: (f"{path} is bad", False))
    said = [(check.part, check.says) for check in doctor.elsewhere(spec(), plan.plan(spec(), lambda _: theirs))]
    assert said[0] == ("stable server", "127.0.0.3:9001: /health is bad; start it before a run")
    of["stable"] = version("7")  # somebody moved the alias: another one serves
    assert plan.plan(spec())["serves"] is None
