"""Replicas that somebody else runs: waited for, looked at, and never started or stopped.

What is remembered of a version that is served elsewhere is one file, so that it is found again when the spec says
something else by then: <home>/<tag>.json.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lockgate.services.errors import NotReady
from lockgate.services.external_look import Look
from lockgate.services.external_spec import split
from lockgate.services.ports import Platform
from lockgate.services.words import EXTERNAL, Bento, Replica

_LOOK_EVERY = 0.1
_BACK_WITHIN = 10.0
"""Seconds for one that has answered before; a rollout's end waits for it."""
_OLD = 86_400.0
"""Seconds: what is being built now is named by no rollout yet."""


@dataclass(frozen=True, slots=True)
class Served:
    """A version that is served elsewhere. `places`: HOST:PORT. `wanted`: requests may go there."""

    bento: Bento
    places: tuple[str, ...]
    ready: str
    """Path that is asked."""
    wanted: bool = False


def elsewhere(name: str, model: str, version: str, places: Sequence[str]) -> Bento:
    """What a version that is served elsewhere is called; at other places it is another one."""
    digest = hashlib.sha256(json.dumps([model, version, *sorted(places)]).encode()).hexdigest()
    return Bento(f"{EXTERNAL}/{name}:v{version}-{digest[:12]}", model, version, digest, EXTERNAL, "")


def is_external(tag: str) -> bool:
    """A bento's tag has no '/' in it."""
    return tag.startswith(f"{EXTERNAL}/")


class ExternalPlatform(Platform):
    """`home`: where it remembers. `ready_within`: seconds for a start to become ready."""

    def __init__(self, home: Path, ready_within: float) -> None:
        self._home, self._ready_within = home, ready_within
        self._looks: dict[tuple[str, str], Look] = {}
        self._seen: set[str] = set()
        """Tags of those that were ready, as far as this process saw."""

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """As `Platform.start`: wait until `count` of its replicas are ready. One that was up before has less time."""
        served = read(self._home, bento.tag)
        if served is None:
            raise NotReady(f"nobody remembers where {bento.tag} is served; `lockgate up` looks it up in the spec again")
        within = min(self._ready_within, _BACK_WITHIN) if bento.tag in self._seen else self._ready_within
        deadline = time.monotonic() + within
        while len(up := self._ready(served)) < count:
            if time.monotonic() > deadline:
                raise NotReady(self._late(served, count, within))
            time.sleep(_LOOK_EVERY)
        want(self._home, bento.tag, wanted=True)
        return up

    def stop(self, replicas: Sequence[Replica]) -> None:
        """As `Platform.stop`, for nobody of ours: they run on, and are not looked at any more.

        A version goes as a whole, and any of its replicas stands for it: whether it is up is not ours to wait for.
        """
        for tag in {one.bento for one in replicas}:
            want(self._home, tag, wanted=False)

    def replicas(self) -> Sequence[Replica]:
        """As `Platform.replicas`: of what was started, also those that are not ready, and say so."""
        wanted = [served for served in _all(self._home) if served.wanted]
        for served in wanted:
            self._begin(served)
        return [one for served in wanted for one in self._found(served)]

    def watch(self, stable: Collection[str]) -> Mapping[str, str]:  # noqa: ARG002 - the port's
        """As `Platform.watch`: they take nothing of this machine."""
        return {}

    def _ready(self, served: Served) -> list[Replica]:
        self._begin(served)
        return [one for one in self._found(served) if one.ready]

    def _begin(self, served: Served) -> None:
        for place in served.places:
            self._look(place, served.ready).begin()

    def _found(self, served: Served) -> list[Replica]:
        """Of a place whose name nobody knows, one that is not ready stands for all."""
        found = []
        for place in served.places:
            host, port = split(place)
            at = self._look(place, served.ready).found() or {host: False}
            found += [Replica(f"{place}/{ip}", served.bento.tag, ip, int(port), 0, up) for ip, up in at.items()]
        if any(one.ready for one in found):
            self._seen.add(served.bento.tag)
        return found

    def _look(self, place: str, path: str) -> Look:
        return self._looks.setdefault((place, path), Look(place, path))

    def _late(self, served: Served, count: int, within: float) -> str:
        looks = [self._look(place, served.ready) for place in served.places]
        wrong = next((look for look in looks if not look.ready()), looks[0])
        of = served.bento
        many = f"{count} replicas" if count > 1 else "any replica"
        return (
            f"{of.model} version {of.version} is served elsewhere, and was not ready within {within:g} s for {many}:"
            f" at {wrong.place} {wrong.why}. Start it there, or mend service.external"
        )


def keep(home: Path, served: Served) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _path(home, served.bento.tag)
    new = path.with_suffix(f".{os.getpid()}-{threading.get_native_id()}.new")
    new.write_text(json.dumps(asdict(served), indent=1), encoding="utf-8")
    new.replace(path)


def place(home: Path, served: Served) -> None:
    """Remember where it is; requests go on to what they went to, and to nobody else."""
    with _alone(home):
        before = read(home, served.bento.tag)
        keep(home, replace(served, wanted=bool(before and before.wanted)))


def want(home: Path, tag: str, *, wanted: bool) -> None:
    """Whether requests may go there from now on. What nobody remembers stays forgotten."""
    with _alone(home):
        served = read(home, tag)
        if served and served.wanted != wanted:
            keep(home, replace(served, wanted=wanted))


def forget(home: Path, but: Collection[str], now: float) -> None:
    """Drop what nobody wants and nobody names, once it is a day old. `but`: tags. `now`: as `time.time()`."""
    if not home.is_dir():
        return
    with _alone(home):
        for path in home.iterdir():
            old = now - path.stat().st_mtime > _OLD
            served = _served(str(path)) if path.suffix == ".json" else None
            unfinished = path.suffix == ".new"  # of a writer that was killed
            if old and (unfinished or (served and not served.wanted and served.bento.tag not in but)):
                path.unlink(missing_ok=True)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """The lock ends with its holder, however that ends."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(home: Path, tag: str) -> Served | None:
    """None for what was never kept, or is damaged."""
    return _served(str(_path(home, tag))) if is_external(tag) else None


def _all(home: Path) -> Iterator[Served]:
    """Asked every second for months: a path is a string, because parts of a `Path` are interned."""
    try:
        names = sorted(os.listdir(home))  # noqa: PTH208 - see above
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".json") and (served := _served(f"{home}/{name}")):
            yield served


def _path(home: Path, tag: str) -> Path:
    return home / f"{tag.removeprefix(f'{EXTERNAL}/').replace(':', '-')}.json"


def _served(path: str) -> Served | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see `_all`
            found = json.load(file)
        return Served(Bento(**found["bento"]), tuple(found["places"]), str(found["ready"]), bool(found["wanted"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
