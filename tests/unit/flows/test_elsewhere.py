"""Versions that somebody else serves: what stands for them, what is said of them, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from lockgate.flows import doctor, elsewhere, plan, release, stable, tidy
from lockgate.flows.build import build
from lockgate.flows.cli import cli
from lockgate.flows.errors import ServedElsewhere
from lockgate.flows.facts import facts_of, parity
from lockgate.flows.healer import Healer
from lockgate.flows.home import Home
from lockgate.flows.release import bento_of
from lockgate.flows.spec import Spec, load
from lockgate.registry.words import ModelVersion
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.state import State
from lockgate.rollout.words import Endpoint, Phase, Routes
from lockgate.services import external
from lockgate.services.errors import NotReady
from lockgate.services.words import EXTERNAL, Bento, Replica

EXAMPLE = Path(__file__).parents[3] / "examples/external/lockgate.yaml"
ONE, TWO = Endpoint("127.0.0.1", 9001), Endpoint("127.0.0.1", 9002)


def version(number: str) -> ModelVersion:
    return ModelVersion("fraud", number, f"models:/m-{number}", "", (), {})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "")


def spec(**service: Any) -> Spec:
    document = load(EXAMPLE).document
    document["service"]["external"] |= service
    return Spec.of(document)


def of_bentos(**gates: Any) -> Spec:
    document = load(EXAMPLE).document
    document["service"]["external"] = None
    document["rollout"]["gates"] |= gates
    return Spec.of(document)


def silent(_: str) -> None:
    pass


def test_nothing_is_built_of_it_and_what_stands_for_it_is_remembered(home: Home) -> None:
    said: list[str] = []
    made = build(spec(), version("2"), home, said.append)
    assert (made.parity, made.rows, made.places) == (None, (), ("127.0.0.1:9002",))
    assert said == ["fraud version 2 is served elsewhere, at 127.0.0.1:9002: nothing of it is compiled or proven"]
    of = made.bento
    assert (of.model, of.version, of.target, of.precision, of.form) == ("fraud", "2", EXTERNAL, "", "external")
    assert parity(made) == "nothing was compiled and nothing proven, for it is served elsewhere, at 127.0.0.1:9002"
    assert elsewhere.known(home, "fraud", made.bento.tag) == made.bento
    assert bento_of(facts_of({"candidate": made.bento}), "candidate", "fraud") == made.bento
    served = external.read(home.external("fraud"), made.bento.tag)
    assert served == external.Served(made.bento, made.places, "/v2/models/fraud/ready")


def test_at_another_place_it_is_another_one_and_asked_otherwise_it_is_not(home: Home) -> None:
    tags = [
        build(spec(**service), version("2"), home, silent).bento.tag
        for service in ({}, {"endpoints": "a-{version}:80"}, {"name": "x", "ready": "/health"})
    ]
    assert len(set(tags)) == 2
    assert tags[0] == tags[2]
    again = external.read(home.external("fraud"), tags[0])
    assert again
    assert again.ready == "/health"


def test_what_serves_goes_on_serving_when_it_is_found_again(home: Home) -> None:
    bento = build(spec(), version("2"), home, silent).bento
    folder = home.external("fraud")
    served = external.read(folder, bento.tag)
    assert served
    external.keep(folder, replace(served, wanted=True))
    build(spec(), version("2"), home, silent)
    assert external.read(folder, bento.tag) == replace(served, wanted=True)


@pytest.mark.parametrize(
    ("service", "number", "why"),
    [
        ({"endpoints": "127.0.0.1:808{version}"}, "0", "127.0.0.1:8080, which is the router's own address"),
        ({"endpoints": "127.0.0.1:990{version}"}, "1", "127.0.0.1:9901, which is the router's own address"),
        ({"endpoints": "localhost:808{version}"}, "0", "localhost:8080, which is the router's own address"),
        ({}, "10", "version 10 would be served at 127.0.0.1:90010, which is not HOST:PORT"),
    ],
)
def test_a_version_without_a_place_of_its_own_is_refused(home: Home, service: Any, number: str, why: str) -> None:
    with pytest.raises(NotReady, match=r"service\.external\.endpoints: ") as refused:
        build(spec(**service), version(number), home, silent)
    assert why in str(refused.value)
    assert not list(home.external("fraud").glob("*"))


def test_the_search_and_the_bentos_of_others_stay_what_they_are() -> None:
    assert spec().service_digest == of_bentos().service_digest


class TestStableIsServedElsewhereAndTheSpecIsNot:
    """The way back: what serves is known, whatever the spec says by now."""

    @pytest.fixture
    def world(self, home: Home) -> Any:
        """Version 1 is served elsewhere."""
        self.bento = build(spec(), version("1"), home, silent).bento
        replicas = [Replica("r", self.bento.tag, ONE.host, ONE.port, 0)]
        return SimpleNamespace(
            spec=of_bentos(),
            home=home,
            platform=SimpleNamespace(replicas=lambda: replicas),
            router=SimpleNamespace(applied=lambda: Routes((ONE,))),
            store=SimpleNamespace(rollouts=lambda _: []),
        )

    def test_it_is_found(self, world: Any) -> None:
        assert stable.serving(world, version("1")) == self.bento
        assert stable.serving(world, version("2")) is None

    def test_it_is_what_the_last_rollout_left_while_nobody_answers(self, world: Any) -> None:
        def down() -> Routes:
            raise RouterDown("it is down")

        state = SimpleNamespace(phase=SimpleNamespace(over=True), facts={"stable_bento": self.bento.tag})
        world.router.applied = down
        world.store = SimpleNamespace(
            rollouts=lambda _: [SimpleNamespace(id="r")], last=lambda _: SimpleNamespace(state=state)
        )
        assert stable.serving(world, version("1")) == self.bento

    def test_gates_that_compare_its_answers_are_refused(self, world: Any) -> None:
        same = of_bentos(same={"metric": "disagreement"})
        with pytest.raises(ServedElsewhere, match=r"served elsewhere still\. rollout\.gates\.same: .*or add it after"):
            elsewhere.check_judged(same, lambda: stable.serving(world, version("1")))
        world.spec, world.registry = same, SimpleNamespace(resolve=lambda _, at: version("12"[at == "@challenger"]))
        with pytest.raises(ServedElsewhere):
            release._open(world, silent)
        elsewhere.check_judged(of_bentos(), lambda: pytest.fail("nobody needs to know"))
        elsewhere.check_judged(same, lambda: Bento("toy:a", "toy", "1", "a", "eager"))
        elsewhere.check_judged(same, lambda: None)


def test_two_sides_at_one_address_are_refused() -> None:
    theirs = Bento("external/fraud:v2-a", "fraud", "2", "a", EXTERNAL, "")
    made = {"stable": Bento("fraud:a", "fraud", "1", "b", "eager"), "candidate": theirs}
    one, two, traffic = (ONE, TWO), (TWO,), spec().rollout.traffic
    with pytest.raises(NotReady, match=r"stable and candidate are both at 127\.0\.0\.1:9002"):
        elsewhere.check_apart(made, lambda facts: {"stable": one, "candidate": two} if len(facts) == 2 else {}, traffic)
    elsewhere.check_apart(made, lambda _: {"stable": (ONE,), "candidate": two}, traffic)
    elsewhere.check_apart({"stable": made["stable"]}, lambda _: pytest.fail("nobody needs to know"), traffic)


def test_what_gets_no_traffic_is_stopped_and_what_is_served_elsewhere_as_a_whole() -> None:
    tags = [*["external/fraud:v1-a"] * 2, "external/fraud:v2-b", *["fraud:a"] * 2]
    replicas = [Replica(str(port), tag, "127.0.0.1", port, 0, port != 9002) for port, tag in enumerate(tags, 9001)]
    routed = {Endpoint("127.0.0.1", 9002), Endpoint("127.0.0.1", 9004)}
    assert [one.id for one in tidy.idle(replicas, routed)] == ["9003", "9005"]


def test_a_rollout_of_two_sides_at_one_address_is_not_begun_and_nothing_is_downloaded(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens behind an ingress: two names, one address. Their files are compared, for a person approves."""
    document = spec().document
    document["rollout"]["steps"].append({"approval": {}})
    of, ended = {"1": version("1"), "2": version("2")}, list[Any]()
    last = SimpleNamespace(sequence=1)
    sides = {"stable": (ONE,), "candidate": (ONE,)}
    world: Any = SimpleNamespace(
        spec=Spec.of(document),
        home=home,
        registry=SimpleNamespace(resolve=lambda _, number: of[number], digest=lambda _: "sha256 of its files"),
        store=SimpleNamespace(last=lambda _: last, append=lambda *it: ended.append(it[2].facts)),
        platform=SimpleNamespace(start=lambda *_: None),
        sides=lambda _: sides,
    )
    rollout: Any = SimpleNamespace(id="r", subject={"stable": "1", "candidate": "2"})
    monkeypatch.setattr(release, "serve_stable", lambda *_: None)
    monkeypatch.setattr(release, "stable_bento", lambda *_: build(world.spec, of["1"], home, silent).bento)
    monkeypatch.setattr(release, "_unbuild", lambda *it: ended.append(it[-1]))
    with pytest.raises(NotReady, match="stable and candidate are both at"):
        release._build(world, rollout, last, silent, 1.0)  # type: ignore[arg-type]
    sides["candidate"] = (TWO,)
    release._build(world, rollout, last, silent, 1.0)  # type: ignore[arg-type]
    assert [type(ended[0]), ended[1]["candidate_source"]] == [tuple, "sha256 of its files"]


def test_who_keeps_going_is_said_not_to_have_died() -> None:
    healer = Healer(SimpleNamespace(), {"candidate_target": EXTERNAL}, {"candidate": 4})  # type: ignore[arg-type]
    assert healer.gave_up("candidate") == "the candidate, which is served elsewhere, was found gone 3 times"


def test_who_is_listed_and_down_is_gone() -> None:
    facts = {f"{side}_{what}": side for side in ("stable", "candidate") for what in ("version", "digest")}
    facts |= {"stable_bento": "fraud:a", "candidate_bento": "external/fraud:v2-a"}
    facts |= {"stable_target": "eager", "candidate_target": EXTERNAL}
    replicas = [Replica(tag, tag, "127.0.0.1", 1, 0, ready=False) for tag in ("fraud:a", "external/fraud:v2-a")]
    started: list[str] = []
    platform = SimpleNamespace(
        replicas=lambda: replicas, watch=lambda _: {}, start=lambda of, _: started.append(of.tag)
    )
    healer = Healer(SimpleNamespace(spec=spec(), platform=platform, home=Home(Path("/nowhere"), "")), facts)  # type: ignore[arg-type]
    healer.look(State(Phase.PROGRESSING))
    healer.join()
    assert started == ["external/fraud:v2-a"]  # the bento that is not ready yet is being started


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, tmp_path / "lockgate.yaml")
    (tmp_path / "traffic").mkdir()
    return lambda *words: CliRunner().invoke(cli, words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("compile",), "nothing of it is compiled"),
        (("rehearse", "--traffic", "traffic"), "there is nothing to rehearse"),
        (("drift",), "its inputs cannot be compared"),
    ],
)
def test_commands_that_need_a_bento_are_refused(run: Callable[..., Any], words: tuple[str, ...], why: str) -> None:
    refused = run(*words).exception
    assert isinstance(refused, ServedElsewhere)
    assert refused.code == 2
    assert str(refused).startswith("fraud is served elsewhere (service.external), and ")
    assert why in str(refused)


def test_validate_says_it(run: Callable[..., Any]) -> None:
    assert "fraud @champion ← @challenger, served elsewhere; shadow" in run("validate").stdout


def test_plan_and_doctor_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"stable": version("1"), "candidate": version("10")}
    monkeypatch.setattr(plan, "resolved", lambda *_: list(of.values()))
    found = plan.plan(spec(endpoints=["127.0.0.1:900{version}"]))
    why = "version 10 would be served at 127.0.0.1:90010, which is not HOST:PORT with a port from 1 to 65535"
    assert found["external"]["stable"] == ["127.0.0.1:9001"]
    assert found["external"]["candidate"][0].startswith(f"! {why}")
    assert plan.plan(of_bentos())["external"] is None
    said = {check.part: (check.state, check.says) for check in doctor.elsewhere(spec(), found)}
    assert said["candidate server"][0] == "missing"
    assert said["candidate server"][1].startswith(why)
    assert said["stable server"] == ("missing", "127.0.0.1:9001: nobody listens there; start it before a run")
    assert not doctor.elsewhere(of_bentos(), plan.plan(of_bentos()))
