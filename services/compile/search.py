"""Every candidate compiled, proven and measured; the fastest that keeps parity and the constraints is chosen.

What compiles quickly comes first. What takes minutes is compiled only while it can still win.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from . import built, fingerprint, making, reference
from . import cache as shelf
from .errors import CompileError, Lost
from .ports import Compiler
from .prober import Prober, probe
from .race import Race, Rounds, predicted
from .targets import COMPILERS, compiler
from .widening import settle, widen, worth
from .words import FULL, About, Artifact, Candidate, Model, Options, Row, Search

Say = Callable[[str], None]
_ENOUGH = 2
_WIDENED = 3
"""Of those who cannot be told apart from the winner, at most so many are tried with more threads."""
_HOPELESS = 1.25
"""A costly candidate is left out when even the most hopeful prediction is slower than the best by this factor."""


def search(about: About, open_model: Callable[[], Model], options: Options, cache: Path, say: Say = print) -> Search:
    """`open_model` is pickled into the processes that need the source. `cache` keeps artifacts by digest.

    Raises what opening the model raises, `Unservable` when the source itself cannot be served in batches, and `Lost`
    when its process is.
    """
    began = time.monotonic()
    say("asking the source model for its own answers")
    answers = built.answers(about, open_model, options, cache)
    about = making.known(about, answers)
    with ExitStack() as processes:
        searching = _Searching(about, open_model, options, cache, answers)
        heavy = [c for c in options.candidates if compiler(c.target).heavy]
        for candidate in sorted(set(options.candidates) - set(heavy), key=_order):
            searching.consider(candidate, processes, say)
        for candidate in searching.hopeful_first(sorted(heavy, key=_order)):
            searching.consider(candidate, processes, say)
        rows = searching.finish(say)
    return searching.found(rows, time.monotonic() - began)


def _order(candidate: Candidate) -> tuple[int, bool, str]:
    return list(COMPILERS).index(candidate.target), candidate.precision != FULL, candidate.precision


class _Searching:
    def __init__(
        self, about: About, open_model: Callable[[], Model], options: Options, cache: Path, answers: Path
    ) -> None:
        self._about, self._open, self._options, self._cache = about, open_model, options, cache
        self._answers = answers
        self._rows: dict[Candidate, Row] = {}
        self._probes: dict[Candidate, Prober] = {}
        self._stacks: dict[Candidate, ExitStack] = {}
        self._hopeless: set[Candidate] = set()
        self._gains: dict[Candidate, float] = {}
        self._narrow: dict[Candidate, Row] = {}
        """Rows with the search's own number of threads, of those that are faster with more."""
        self._settled: dict[Candidate, Path] = {}
        plan = Rounds(drop=not options.thorough)
        self._race = Race(self._time, options.objective, plan, self._lost)

    def consider(self, candidate: Candidate, processes: ExitStack, say: Say) -> None:
        """Compile, prove and enter it into the race, or note why not."""
        try:
            maker = compiler(candidate.target)
            reason = maker.supports(self._about, candidate.precision, self._options.device)
            if reason or (maker.heavy and (reason := self._cannot_win(candidate, maker))):
                self._note(candidate, "skipped", reason)
                return
            say(f"compiling for {candidate}")
            self._compile(candidate, maker)
            self._probe(candidate, processes)
        except Lost as lost:
            self._note(candidate, "lost", str(lost))
        except CompileError as error:
            self._note(candidate, "skipped", str(error))
        except Exception as error:  # noqa: BLE001 - a compiler fails in its own way, and the next may not
            self._note(candidate, "lost", f"could not be compiled: {reference.line(error)}")

    def hopeful_first(self, heavy: list[Candidate]) -> list[Candidate]:
        """Of each target, the precision that leads by now: it tells what to expect of the others."""
        if self._options.thorough or not heavy:
            return heavy
        self._rounds(final=False)
        leader = self._race.leader()
        first = leader.precision if leader else FULL
        targets = list(dict.fromkeys(c.target for c in heavy))
        return sorted(heavy, key=lambda c: (targets.index(c.target), c.precision != first))

    def finish(self, say: Say) -> list[Row]:
        """The last rounds, and who has won."""
        if self._race.running:
            say(f"measuring {', '.join(map(str, self._race.running))}")
            self._rounds(final=True)
            self._race.measure(list(self._race.running), self._extra(), Rounds().least)
        for candidate, reason in self._race.dropped.items():
            self._measured(candidate, "slower", reason)
        for candidate in self._race.running:
            self._measured(candidate, "kept", "")
        for candidate in self._leaders():
            say(f"trying {candidate} with more threads")
            self._widen(candidate)
        while (best := self._best()) and (failed := self._choose(best)):
            say(f"{best} stays at its first number of threads: {failed}")
        return [self._rows[c] for c in self._options.candidates]

    def found(self, rows: list[Row], seconds: float) -> Search:
        chosen = next((r for r in rows if r.outcome == "chosen"), None)
        return Search(
            rows=tuple(rows),
            chosen=self._artifact(chosen) if chosen else None,
            fallback=self._fallback(rows, chosen) if chosen else None,
            reference=self._answers,
            fingerprint=fingerprint.machine(self._options.device),
            seconds=seconds,
        )

    def _rounds(self, *, final: bool) -> None:
        """Processes of those who fell behind are ended: they hold a model in memory."""
        self._race.run(final=final)
        for candidate in self._race.dropped:
            self._stacks[candidate].close()

    def _cannot_win(self, candidate: Candidate, maker: Compiler) -> str:
        """What minutes of compiling cannot change, as far as is known by now."""
        if self._options.thorough or not self._by_speed:
            return ""
        twin = self._rows.get(Candidate(maker.alike or "", candidate.precision))
        if twin and twin.outcome == "kept":
            return f"not compiled: {twin.candidate} has the same kernels, starts faster and was measured"
        if twin and twin.candidate in self._hopeless:
            return f"not compiled: {twin.candidate} has the same kernels, starts faster and cannot win either"
        if others := self._refused_at(candidate.precision):
            self._hopeless.add(candidate)
            return f"not compiled: at {candidate.precision} parity refused {' and '.join(others)}"
        self._rounds(final=False)
        if (leader := self._race.leader()) is None:
            return ""
        scores = {c: self._race.score(c) for c in (*self._race.running, *self._race.dropped)}
        hoped = predicted(scores, candidate)
        if hoped is None or hoped < _HOPELESS * scores[leader]:
            return ""
        self._hopeless.add(candidate)
        return f"not compiled: expected to take {hoped / scores[leader]:.1f} times as long as {leader}"

    def _refused_at(self, precision: str) -> list[str]:
        """Targets that differed at a precision below fp32, where two did and none was near enough."""
        there = [row for c, row in self._rows.items() if c.precision == precision != FULL and row.parity]
        refused = [row.candidate.target for row in there if row.outcome == "refused"]
        return refused if len(refused) == len(there) >= _ENOUGH else []

    def _compile(self, candidate: Candidate, maker: Compiler) -> None:
        work = making.Work(self._open, maker, candidate, self._options, self._answers)
        made, cached = built.artifact(self._about, work, self._cache)
        self._rows[candidate] = Row(
            candidate,
            "kept",
            digest=made["digest"],
            cached=cached,
            compile_seconds=made["seconds"],
            size=shelf.size_of(self._place(candidate)),
            threads=self._options.threads,
        )

    def _probe(self, candidate: Candidate, processes: ExitStack) -> None:
        options = self._options
        stack = self._stacks[candidate] = processes.enter_context(ExitStack())
        log = Path(stack.enter_context(TemporaryDirectory(prefix="lockgate-probe-"))) / "log"
        start = partial(probe, self._place(candidate), self._answers, log, options.limits, options.threads)
        loads = []
        if self._load_counts:  # the first may have waited for the disk
            with start() as prober:
                loads.append(prober.load_seconds)
        prober = stack.enter_context(start())
        loads.append(prober.load_seconds)
        memory = prober.memory(max(options.objective.batch_sizes))
        self._rows[candidate] = replace(self._rows[candidate], load_seconds=min(loads), memory=memory)
        evidence = prober.prove(options.tolerance, options.max_batch)
        self._rows[candidate] = row = replace(self._rows[candidate], parity=evidence)
        if not evidence.passed:
            self._note(candidate, "refused", evidence.reason)
        elif reason := options.objective.exceeded(row.memory, row.load_seconds):
            self._note(candidate, "over a limit", reason)
        else:
            self._probes[candidate] = prober
            self._race.enter(candidate)

    def _time(self, candidate: Candidate, batch: int, seconds: float, least: int) -> list[float]:
        return self._probes[candidate].time(batch, seconds, least)

    def _lost(self, candidate: Candidate, reason: str) -> None:
        self._note(candidate, "lost", reason)

    def _note(self, candidate: Candidate, outcome: str, reason: str) -> None:
        row = self._rows.get(candidate) or Row(candidate, "skipped")
        line = " ".join(reason.split())
        self._rows[candidate] = replace(row, outcome=outcome, reason=line)  # type: ignore[arg-type]
        if candidate in self._stacks:
            self._stacks[candidate].close()

    def _measured(self, candidate: Candidate, outcome: str, reason: str) -> None:
        row = replace(self._rows[candidate], timings=self._race.timings(candidate))
        legacy = "legacy: its own authors advise against it" if compiler(candidate.target).legacy else ""
        reason = "; ".join(filter(None, (reason, legacy)))
        self._rows[candidate] = replace(row, outcome=outcome, reason=reason)  # type: ignore[arg-type]

    def _leaders(self) -> list[Candidate]:
        """Who may win, and may be faster with more threads. Those who fell behind with few are not looked at again."""
        first = sorted(self._race.running, key=self._race.score)[: _WIDENED if self._by_speed else 0]
        return [c for c in first if worth(self._rows[c], self._options)]

    def _widen(self, candidate: Candidate) -> None:
        with TemporaryDirectory(prefix="lockgate-probe-") as folder:
            start = partial(probe, self._place(candidate), self._answers, Path(folder) / "log", self._options.limits)
            narrow = self._rows[candidate]
            self._rows[candidate], self._gains[candidate] = widen(narrow, self._probes[candidate], start, self._options)
            self._narrow[candidate] = narrow

    def _choose(self, candidate: Candidate) -> str:
        """Or why its copy with more threads could not be made: it is again what it was with few, and may not win."""
        row = self._rows[candidate]
        if row.threads != self._options.threads:
            key, base = shelf.key(self._about, candidate, self._options), (self._place(candidate), row.digest)
            try:
                self._settled[candidate], digest = settle(base, row.threads, self._cache, key)
            except (Lost, OSError) as failed:
                before, why = self._narrow[candidate], " ".join(str(failed).split())[:300]
                said = f"{row.threads} threads: not made, {why}"
                self._rows[candidate] = replace(before, reason="; ".join(filter(None, (before.reason, said))))
                del self._gains[candidate]
                return said
            row = replace(row, digest=digest)
        self._rows[candidate] = replace(row, outcome="chosen")
        return ""

    def _best(self) -> Candidate | None:
        """Of those who ran to the end; where speed is not what counts, of all that were measured."""
        outcomes = ("kept",) if self._by_speed else ("kept", "slower")
        able = [c for c, row in self._rows.items() if row.outcome in outcomes]
        return min(able, key=self._score, default=None)

    def _score(self, candidate: Candidate) -> float:
        row = self._rows[candidate]
        by = {"memory": float(row.memory), "load_time": row.load_seconds, "size": float(row.size)}
        found = by.get(self._options.objective.minimize)
        return self._race.score(candidate) / self._gains.get(candidate, 1.0) if found is None else found

    @property
    def _by_speed(self) -> bool:
        return self._options.objective.minimize not in ("memory", "load_time", "size")

    @property
    def _load_counts(self) -> bool:
        wanted = self._options.objective
        return wanted.max_load_time is not None or wanted.minimize == "load_time"

    def _extra(self) -> list[int]:
        return [b for b in self._options.also_measure if b not in self._options.objective.batch_sizes]

    def _fallback(self, rows: list[Row], chosen: Row) -> Artifact | None:
        """The next proven one that another machine may load; where the chosen one may be loaded anywhere, none."""
        if self._artifact(chosen).manifest["portable"] and chosen.candidate.precision == "fp32":
            return None
        proven = [r for r in rows if r.outcome in ("kept", "slower") and r.candidate != chosen.candidate]
        found = [self._artifact(r) for r in sorted(proven, key=lambda r: self._race.score(r.candidate))]
        return next((a for a in found if a.manifest["portable"]), None)

    def _artifact(self, row: Row) -> Artifact:
        assert row.parity is not None  # noqa: S101 - only proven ones get here
        place = self._place(row.candidate)
        return Artifact(place, row.candidate, row.digest, row.parity, making.manifest(place))

    def _place(self, candidate: Candidate) -> Path:
        made = self._cache / shelf.key(self._about, candidate, self._options) / shelf.ARTIFACT
        return self._settled.get(candidate, made)
