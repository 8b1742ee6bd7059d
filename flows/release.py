"""resolve → open → compile → parity → package → serve both sides. Ends with a rollout that can be driven."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from lockgate.flows import announced, elsewhere, feedback, wanted
from lockgate.flows.build import build
from lockgate.flows.capture import configure
from lockgate.flows.errors import FlowError, NothingToDo
from lockgate.flows.facts import facts_of, parity
from lockgate.flows.lease import leased
from lockgate.flows.stable import serving, stable_bento
from lockgate.flows.tidy import answering, idle, tidy, tidy_alone
from lockgate.flows.world import World
from lockgate.registry.errors import RegistryDown, RegistryError
from lockgate.registry.words import ModelVersion
from lockgate.rollout.envoy.checks import check_files
from lockgate.rollout.errors import AlreadyOpen, Fenced, RolloutError, RouterDown, RouterError, StoreDown
from lockgate.rollout.state import Broke, Built
from lockgate.rollout.store import Event, Rollout
from lockgate.rollout.words import Endpoint, Phase, Routes
from lockgate.services.errors import NotReady, ServiceError
from lockgate.services.words import EXTERNAL, Bento

Say = Callable[[str], None]


def resolve(world: World) -> dict[str, ModelVersion]:
    """Stable, candidate and others as the registry names them now. Raises `NoSuchVersion`, `RegistryDown`."""
    model = world.spec.model
    named = {"stable": model.stable, "candidate": model.candidate, **model.others}
    return {side: world.registry.resolve(model.name, reference) for side, reference in named.items()}


def release(world: World, me: str, say: Say, known: Rollout | None = None, asked: float | None = None) -> Rollout:
    """The spec's open rollout, opened if there is none, with both sides served. Finished stages are not repeated.

    `known`: this one and no other, whatever has become of it. `asked`: when a person asked for it, in unix seconds;
    where nobody did, what `lockgate down` stopped stays down.

    Raises `NothingToDo`, `AlreadyOpen` when the open rollout is about something else, `Fenced` when somebody drives it,
    and the `RegistryError`, `ServiceError` or `RouterError` that refused the candidate; traffic is then untouched.
    """
    rollout = known or world.store.open_of(world.spec.name) or _open(world, say, asked)
    _same(world, rollout)
    configure(world.home, world.spec)
    with leased(world, rollout, me):
        try:
            _check_not_stopped(world, asked)  # whoever stops it asks afterwards whether somebody holds the lease
        except NothingToDo:
            world.store.release(rollout.id, me)
            raise
        last = world.store.last(rollout.id)
        if last.state.phase is Phase.BUILDING:
            _build(world, rollout, last, say, max(asked or 0.0, rollout.opened_at))
    return rollout


def _check_not_stopped(world: World, asked: float | None) -> None:
    """Raises `NothingToDo`. It takes seconds to get here, and `lockgate down` is as quick."""
    if asked is None and wanted.stopped(world.home, world.spec.name):
        raise NothingToDo(f"{world.spec.name} was stopped with `lockgate down` since this was asked for")


def _open(world: World, say: Say, asked: float | None = None) -> Rollout:
    versions = resolve(world)
    stable, candidate = versions["stable"], versions["candidate"]
    _check_apart(versions)
    if stable.version == candidate.version:
        _artifact_changed(world, stable, say)
    elsewhere.check_judged(world.spec, lambda: serving(world, stable))
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    rollout = Rollout(
        id=f"{world.spec.name}-{stamp}-{secrets.token_hex(2)}",
        model=world.spec.name,
        spec=world.spec.rollout.without_secrets(world.spec.hide),
        subject={"model": stable.name, **{side: of.version for side, of in versions.items()}},
        document=world.spec.document,
        opened_at=now,
        closed_at=None,
    )
    announced.check(world)
    check_files(world.spec.rollout.traffic)
    _check_not_stopped(world, asked)
    world.store.open(rollout, now)
    announced.opened(world, rollout)
    rest = "".join(f", {name} version {versions[name].version}" for name in world.spec.model.others)
    say(f"opened {rollout.id}: {stable.name} version {stable.version} → version {candidate.version}{rest}")
    return rollout


def _check_apart(versions: Mapping[str, ModelVersion]) -> None:
    """Challengers are compared: each must be another version. Raises `NothingToDo`."""
    seen: dict[str, str] = {}
    for side, of in versions.items():
        before = seen.setdefault(of.version, side)
        if before != side and {before, side} != {"stable", "candidate"}:
            raise NothingToDo(
                f"{before} and {side} are both version {of.version} of {of.name}: there is nothing to compare. Let"
                f" model.others.{side} name another version"
            )


def _artifact_changed(world: World, version: ModelVersion, say: Say) -> None:
    """The same version is rolled out again when it is compiled or served in another way. Raises `NothingToDo`."""
    same = f"{world.spec.model.stable} and {world.spec.model.candidate} of {version.name} are both version"
    now = serving(world, version)
    if now is None:
        raise NothingToDo(
            f"{same} {version.version}: there is nothing to roll out. Move {world.spec.model.candidate} to a newer"
            " version, or serve this one with `lockgate up`"
        )
    new = build(world.spec, version, world.home, say).bento
    if new.tag == now.tag:
        raise NothingToDo(
            f"{same} {version.version}, which serves as {now.form} just as the spec wants it: there"
            f" is nothing to roll out. Move {world.spec.model.candidate} to a newer version, or change `service`"
        )
    say(f"{version} is served as {now.form}; the spec now makes {new.form} of it")


def _same(world: World, rollout: Rollout) -> None:
    """An open rollout is finished as it was opened; of one that is over, only the tidying up may be left."""
    if not world.spec.stored_as(rollout.document) and not world.store.last(rollout.id).state.phase.over:
        raise AlreadyOpen(
            f"{rollout.id} is open and was started from another version of the spec; run that one again, or end the"
            f" rollout with `lockgate abort {rollout.model}` first"
        )


def _build(world: World, rollout: Rollout, last: Event, say: Say, asked: float) -> None:
    """Serve both sides, or end the rollout with the reason and leave nothing of the candidate running.

    The candidate comes first: one that is refused leaves the machine as it was, stable and router included.
    `asked`: as `serve_stable`'s.
    """
    made: dict[str, Bento] = {}
    facts: dict[str, str] = {}
    side = "candidate"
    try:
        for side in world.spec.rollout.challengers:
            version = world.registry.resolve(world.spec.model.name, rollout.subject[side])
            its = build(world.spec, version, world.home, say)
            made[side] = its.bento
            facts[f"{side}_parity"] = parity(its)
            if world.spec.rollout.asks:
                facts[f"{side}_source"] = _files(world, version)
        side = "stable"
        if world.store.last(rollout.id).sequence == last.sequence:  # else aborted: recording will say so
            version = world.registry.resolve(world.spec.model.name, rollout.subject["stable"])
            made["stable"] = stable_bento(world, version, say)
        if world.store.last(rollout.id).sequence == last.sequence:
            for side in world.spec.rollout.challengers:
                _start(world, made[side], say)
            challenger, side = side, "stable"
            serve_stable(world, made["stable"], say, lambda: _unmoved(world, rollout, last), asked)
            side = challenger  # it is the candidate that came to where somebody is already
            elsewhere.check_apart(made, world.sides, world.spec.rollout.traffic)
        world.store.append(rollout, last, Built(facts | facts_of(made)), time.time())
    except BaseException as error:
        _unbuild(world, rollout, last, made, (side, error))
        if not (isinstance(error, Fenced) and world.store.last(rollout.id).state.phase.over):
            raise


def _files(world: World, version: ModelVersion) -> str:
    """Digest of what the registry has of it; what somebody else serves need not be a model that could be loaded."""
    return world.registry.digest(version) if world.spec.service.external else world.registry.fetch(version).digest


def _unmoved(world: World, rollout: Rollout, last: Event) -> None:
    if world.store.last(rollout.id).sequence != last.sequence:
        raise Fenced(f"{rollout.id} went on while this was building it")


def _taken(world: World, rollout: Rollout, last: Event) -> bool:
    """Whether somebody else went on with it while we slept; not where it was only aborted."""
    now = world.store.last(rollout.id)
    aborted = now.state.phase is Phase.FAILED and world.store.rollout(rollout.id).closed_at is None
    return now.sequence != last.sequence and not aborted


def _unbuild(
    world: World, rollout: Rollout, last: Event, made: dict[str, Bento], failed: tuple[str, BaseException]
) -> None:
    """Record why it could not be built, and stop what was started for it. `failed`: which side, and why."""
    (side, error), challengers = failed, world.spec.rollout.challengers
    if _taken(world, rollout, last):  # what we started may serve by now
        tidy_alone(world)
        return
    routed: set[Endpoint] = set()
    with suppress(RouterDown):
        routed = answering(world)  # a challenger may be what serves today, where somebody moved @champion by hand
    started = [r for which, bento in made.items() if which != "stable" for r in world.served(bento.tag)]
    world.platform.stop(idle(started, routed))
    # While the store does not answer nothing is lost: whoever comes next builds on.
    foreseen = isinstance(error, FlowError | RegistryError | ServiceError | RolloutError)
    if foreseen and not isinstance(error, Fenced | StoreDown):
        refused = side != "stable" and _refuses(error, built=all(one in made for one in challengers))
        with suppress(Fenced):
            world.store.append(rollout, last, Broke(str(error), refused), time.time())
        if refused:
            _note_refusal(world, rollout, side, error)
    tidy(world)
    if world.store.last(rollout.id).state.phase.over:
        announced.over(world, rollout)
        world.store.close_rollout(rollout.id, time.time())


def _refuses(error: BaseException, *, built: bool) -> bool:
    """Whether that is the challenger's fault, for which it is not tried again."""
    return isinstance(error, NotReady) or not (built or isinstance(error, FlowError | RegistryDown))


def _note_refusal(world: World, rollout: Rollout, side: str, error: BaseException) -> None:
    tags = {"rollout": rollout.id, "phase": str(Phase.FAILED), "decision": f"refused: {error}"}
    with suppress(RegistryError):  # the reason is in our log and on the terminal too
        world.registry.annotate(rollout.subject["model"], rollout.subject[side], tags)


def bento_of(facts: Mapping[str, str], side: str, model: str) -> Bento:
    version, digest = facts[f"{side}_version"], facts[f"{side}_digest"]
    precision = facts.get(f"{side}_precision", "fp32")
    return Bento(facts[f"{side}_bento"], model, version, digest, facts[f"{side}_target"], precision)


def _start(world: World, bento: Bento, say: Say) -> None:
    count = world.spec.service.replicas.min
    does = "waiting for" if bento.target == EXTERNAL else "starting"
    say(f"{does} {count} replica{'s' * (count != 1)} of {bento.tag} ({bento.form})")
    world.platform.start(bento, count)


def serve_stable(
    world: World, bento: Bento, say: Say, still: Callable[[], None] = lambda: None, asked: float | None = None
) -> None:
    """Bring stable, the feedback server where the spec needs one, and the router up; what is up stays as it is.

    `still` raises when it is no longer ours to do: starting takes time, and somebody may have promoted another one.
    `asked`: when somebody asked for it, now by default. The address that a later `lockgate up` gave clients stays.
    """
    holds, own = partial(_holds, still), partial(wanted.is_last, world.home, world.spec.name, asked)
    _start(world, bento, say)
    fed = _serve_feedback(world)
    still()
    # Before it is routed to: whoever restarts what died must not bring the old one back.
    wanted.instead(world.home, world.spec.name, bento, holds)
    if not world.router.running():
        say(f"starting the router on {world.spec.rollout.traffic.listen}")
    _route(world, Routes(world.sides({"stable_bento": bento.tag})["stable"]), holds, own)
    world.platform.watch({bento.tag})
    still()
    wanted.up(world.home, world.spec.document, bento, asked, holds)
    with suppress(RouterError):  # it runs, or is started again with what it had
        world.router.renew(own)  # whoever put another address there before this was written down knew nothing of it
    if not fed:
        feedback.stop(world.home, world.spec.name)


def _route(world: World, routes: Routes, holds: Callable[[], bool], own: Callable[[], bool]) -> None:
    """A router that dies while it is asked is started once more; raises `RouterDown` when it is down again."""
    try:
        _routed(world, routes, holds, own)
    except RouterDown:
        _routed(world, routes, holds, own)


def _routed(world: World, routes: Routes, holds: Callable[[], bool], own: Callable[[], bool]) -> None:
    world.router.start(routes, own)  # one that runs is adopted, and takes up what has changed in `traffic`
    served = world.router.applied()
    if not served.weight and not served.mirror and set(served.stable) != set(routes.stable):
        world.router.apply(routes, holds)


def _holds(still: Callable[[], None]) -> bool:
    still()
    return True


def _serve_feedback(world: World) -> bool:
    """Whether the router needs the feedback server, which then runs: an open rollout's goes on as it was opened."""
    opened = world.store.open_of(world.spec.name)
    fed = feedback.needed(world.spec, opened)
    if not fed:
        return False
    if opened and not world.spec.stored_as(opened.document):
        feedback.revive(world.home, world.spec.name)
    else:
        feedback.ensure(world.home, world.spec)
    return True
