"""resolve → open → compile → parity → package → serve both sides. Ends with a rollout that can be driven."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

from lockgate.flows import announced, feedback
from lockgate.flows.build import build
from lockgate.flows.capture import configure
from lockgate.flows.errors import NothingToDo
from lockgate.flows.stable import serving, stable_bento
from lockgate.flows.world import World
from lockgate.registry.errors import RegistryDown, RegistryError
from lockgate.registry.words import ModelVersion
from lockgate.rollout.controller import LEASE
from lockgate.rollout.errors import AlreadyOpen, Fenced, RolloutError, RouterDown, StoreDown
from lockgate.rollout.state import Broke, Built
from lockgate.rollout.store import Event, Rollout, Store
from lockgate.rollout.words import Endpoint, Phase, Routes
from lockgate.services.errors import NotReady, ServiceError
from lockgate.services.words import Bento, Build

Say = Callable[[str], None]


def owner() -> str:
    """Who we are in the lease: this process, on this host, told apart from a later one with the same number."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def driver(store: Store, rollout: Rollout) -> str:
    """Who drives the rollout now; empty when nobody does. The lease of a process of this host that is gone is void."""
    holder = store.holder(rollout.id, time.time())
    host, _, rest = holder.partition(":")
    pid, _, created = rest.partition(":")
    if host != socket.gethostname() or _runs(int(pid), created):
        return holder
    store.release(rollout.id, holder)
    return ""


def undriven_only(world: World) -> None:
    """Raise `Fenced` when somebody drives a rollout of this spec: what is stopped would be started again."""
    rollout = world.store.open_of(world.spec.name)
    if rollout and (who := driver(world.store, rollout)):
        raise Fenced(
            f"{rollout.id} is driven by {who}; end it with `lockgate abort {rollout.model}` or stop that process"
        )


def _runs(pid: int, created: str) -> bool:
    try:
        process = psutil.Process(pid)
        return f"{process.create_time():.2f}" == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def resolve(world: World) -> dict[str, ModelVersion]:
    """Stable, candidate and others as the registry names them now. Raises `NoSuchVersion`, `RegistryDown`."""
    model = world.spec.model
    named = {"stable": model.stable, "candidate": model.candidate, **model.others}
    return {side: world.registry.resolve(model.name, reference) for side, reference in named.items()}


def release(world: World, me: str, say: Say) -> Rollout:
    """The spec's open rollout, opened if there is none, with both sides served. Finished stages are not repeated.

    Raises `NothingToDo`, `AlreadyOpen` when the open rollout is about something else, `Fenced` when somebody drives it,
    and the `RegistryError`, `ServiceError` or `RouterError` that refused the candidate; traffic is then untouched.
    """
    rollout = world.store.open_of(world.spec.name) or _open(world, say)
    _same(world, rollout)
    configure(world.home, world.spec)
    with leased(world, rollout, me):
        last = world.store.last(rollout.id)
        if last.state.phase is Phase.BUILDING:
            _build(world, rollout, last, say)
    return rollout


def _open(world: World, say: Say) -> Rollout:
    versions = resolve(world)
    stable, candidate = versions["stable"], versions["candidate"]
    _check_apart(versions)
    if stable.version == candidate.version:
        _artifact_changed(world, stable, say)
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
            f"{same} {version.version}, which serves as {now.target} {now.precision} just as the spec wants it: there"
            f" is nothing to roll out. Move {world.spec.model.candidate} to a newer version, or change `service`"
        )
    say(f"{version} is served as {now.target} {now.precision}; the spec now makes {new.target} {new.precision} of it")


def _same(world: World, rollout: Rollout) -> None:
    """An open rollout is finished as it was opened; of one that is over, only the tidying up may be left."""
    if rollout.document != world.spec.document and not world.store.last(rollout.id).state.phase.over:
        raise AlreadyOpen(
            f"{rollout.id} is open and was started from another version of the spec; run that one again, or end the"
            f" rollout with `lockgate abort {rollout.model}` first"
        )


@contextmanager
def leased(world: World, rollout: Rollout, me: str) -> Iterator[None]:
    """Hold the rollout's lease while something long runs. Raises `Fenced` when somebody else holds it."""
    driver(world.store, rollout)
    if not world.store.lease(rollout.id, me, time.time(), LEASE):
        raise Fenced(f"{rollout.id} is driven by {world.store.holder(rollout.id, time.time())}")
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(LEASE / 3):
            with suppress(StoreDown):  # the next one may go through, and the fence decides anyway
                world.store.lease(rollout.id, me, time.time(), LEASE)

    heart = threading.Thread(target=renew, name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()


def _build(world: World, rollout: Rollout, last: Event, say: Say) -> None:
    """Serve both sides, or end the rollout with the reason and leave nothing of the candidate running.

    The candidate comes first: one that is refused leaves the machine as it was, stable and router included.
    """
    made: dict[str, Bento] = {}
    facts: dict[str, str] = {}
    side = "candidate"
    try:
        for side in world.spec.rollout.challengers:
            version = world.registry.resolve(world.spec.model.name, rollout.subject[side])
            its = build(world.spec, version, world.home, say)
            made[side] = its.bento
            facts[f"{side}_parity"] = _parity(its)
            if world.spec.rollout.asks:
                facts[f"{side}_source"] = world.registry.fetch(version).digest
        if world.store.last(rollout.id).sequence == last.sequence:  # else aborted: recording will say so
            version = world.registry.resolve(world.spec.model.name, rollout.subject["stable"])
            made["stable"] = stable_bento(world, version, say)
        if world.store.last(rollout.id).sequence == last.sequence:
            for side in world.spec.rollout.challengers:
                _start(world, made[side], say)
            serve_stable(world, made["stable"], say)
        world.store.append(rollout, last, Built(facts | _facts(made)), time.time())
    except BaseException as error:
        _unbuild(world, rollout, last, made, (side, error))
        if not (isinstance(error, Fenced) and world.store.last(rollout.id).state.phase.over):
            raise


def _unbuild(
    world: World, rollout: Rollout, last: Event, made: dict[str, Bento], failed: tuple[str, BaseException]
) -> None:
    """Record why it could not be built, and stop what was started for it. `failed`: which challenger, and why."""
    side, error = failed
    started = {bento.tag for side, bento in made.items() if side != "stable"}
    world.platform.stop([replica for tag in started for replica in world.served(tag)])
    if isinstance(error, RegistryError | ServiceError | RolloutError) and not isinstance(error, Fenced):
        built = all(side in made for side in world.spec.rollout.challengers)
        refused = isinstance(error, NotReady) or not (built or isinstance(error, RegistryDown))
        with suppress(Fenced):
            world.store.append(rollout, last, Broke(str(error), refused), time.time())
        if refused:
            _note_refusal(world, rollout, side, error)
    tidy(world)
    if world.store.last(rollout.id).state.phase.over:
        announced.over(world, rollout)
        world.store.close_rollout(rollout.id, time.time())


def _note_refusal(world: World, rollout: Rollout, side: str, error: Exception) -> None:
    tags = {"rollout": rollout.id, "phase": str(Phase.FAILED), "decision": f"refused: {error}"}
    with suppress(RegistryError):  # the reason is in our log and on the terminal too
        world.registry.annotate(rollout.subject["model"], rollout.subject[side], tags)


def _parity(its: Build) -> str:
    return f"{its.parity.rows} rows, largest difference {its.parity.max_abs_error:.2g} in {its.parity.worst_output}"


def _facts(made: dict[str, Bento]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for side, bento in made.items():
        facts |= {f"{side}_bento": bento.tag, f"{side}_digest": bento.digest, f"{side}_version": bento.version}
        facts |= {f"{side}_target": bento.target, f"{side}_precision": bento.precision}
    return facts


def bento_of(facts: Mapping[str, str], side: str, model: str) -> Bento:
    version, digest = facts[f"{side}_version"], facts[f"{side}_digest"]
    precision = facts.get(f"{side}_precision", "fp32")
    return Bento(facts[f"{side}_bento"], model, version, digest, facts[f"{side}_target"], precision)


def _start(world: World, bento: Bento, say: Say) -> None:
    count = world.spec.service.replicas.min
    say(f"starting {count} replica{'s' * (count != 1)} of {bento.tag} ({bento.target} {bento.precision})")
    world.platform.start(bento, count)


def serve_stable(world: World, bento: Bento, say: Say) -> None:
    """Bring stable, the feedback server where the spec needs one, and the router up; what is up stays as it is."""
    _start(world, bento, say)
    fed = _serve_feedback(world)
    stable = world.sides({"stable_bento": bento.tag})["stable"]
    if not world.router.running():
        say(f"starting the router on {world.spec.rollout.traffic.listen}")
    world.router.start(Routes(stable))  # one that runs is adopted, and takes up what has changed in `traffic`
    served = world.router.applied()
    if not served.weight and not served.mirror and set(served.stable) != set(stable):
        world.router.apply(Routes(stable))
    if not fed:
        feedback.stop(world.home, world.spec.name)


def _serve_feedback(world: World) -> bool:
    """Whether the router needs the feedback server, which then runs: an open rollout's goes on as it was opened."""
    opened = world.store.open_of(world.spec.name)
    fed = feedback.wanted(opened.spec if opened else world.spec.rollout)
    if not fed:
        return False
    if opened and opened.document != world.spec.document:
        feedback.revive(world.home, world.spec.name)
    else:
        feedback.ensure(world.home, world.spec)
    return True


def tidy(world: World) -> None:
    """Stop every replica that gets no traffic. Only for when no rollout of this spec is being built."""
    with suppress(RouterDown):
        served = world.router.applied()
        wanted = {*served.stable, *served.candidate}
        world.platform.stop([r for r in world.platform.replicas() if Endpoint(r.host, r.port) not in wanted])
