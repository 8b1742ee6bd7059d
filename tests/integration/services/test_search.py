"""Whole searches over toy compilers: what goes wrong in one candidate's process loses that candidate, and only that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.services.compile.errors import Unservable
from lockgate.services.compile.prober import probe
from lockgate.services.compile.search import search
from lockgate.services.compile.words import Candidate, Limits, Objective, Options, Row, Search, Tolerance

IMPORTABLE = Path(__file__).parent / "importable"
SOURCE = Path(__file__).parents[3] / "src"
LIMITS = Limits(seconds=30, memory=400 * 2**20)
MINE = "TOYS_MARK"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the toys noted so far."""
    path = tmp_path / "toys.log"
    monkeypatch.setenv("TOYS_LOG", str(path))
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """In the environment of all that this test starts, so that it is found again."""
    monkeypatch.setenv(MINE, str(tmp_path))
    return str(tmp_path)


def started(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MINE) == mark and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def options(*targets: str, **settings: Any) -> Options:
    settings = {"limits": LIMITS, "max_batch": 8, "tolerance": Tolerance(rows=32), **settings}
    return Options(tuple(Candidate(t) for t in targets), **settings)


def searched(toys: Any, cache: Path, *targets: str, **settings: Any) -> Search:
    return search(toys.about(), toys.opener(), options(*targets, **settings), cache, lambda _line: None)


def table(found: Search) -> dict[str, Row]:
    return {row.candidate.target: row for row in found.rows}


def test_the_fastest_that_keeps_parity_is_chosen(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "medium", "fast", "slow", "swapped")
    rows = table(found)
    assert {t: r.outcome for t, r in rows.items()} == {
        "medium": "slower",
        "fast": "chosen",
        "slow": "slower",
        "swapped": "refused",
    }
    assert "times as long as" in rows["slow"].reason
    assert found.chosen is not None
    assert (found.chosen.target, found.chosen.digest) == ("fast", rows["fast"].digest)
    assert json.loads((found.chosen.path / "manifest.json").read_text())["fingerprint"]["target"] == "fast"
    assert (rows["fast"].load_seconds > 0, rows["fast"].memory > 2**20, rows["fast"].size > 0) == (True, True, True)
    assert rows["slow"].timings[0].p50 > 0.003
    assert [r.candidate.target for r in found.rows] == ["medium", "fast", "slow", "swapped"]


WRONG = {
    "corrupted": "output 'scores', row 0, position 0: the source says",
    "swapped": "the outputs 'total' and 'first' are swapped",
    "other-constant": "output 'first', row 0: the source says",
    "only-one": "(seen with a batch of 2; a batch of 1 was right)",
    "misreading": "(seen with a strided batch of 1; a batch of 1 was right)",
}


def test_what_answers_wrongly_is_refused_with_the_sentence_that_names_it(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "fast", *WRONG)
    rows = table(found)
    assert rows["fast"].outcome == "chosen"
    for target, sentence in WRONG.items():
        assert (target, rows[target].outcome, rows[target].timings) == (target, "refused", ())
        assert sentence in rows[target].reason
        evidence = rows[target].parity
        assert evidence is not None
        assert not evidence.passed
        assert evidence.worst["inputs"].keys() == {"x"}
    assert {
        "a batch of 1",
        "a batch of 2",
        "a batch of 8",
        "a strided batch of 8",
        "sample",
        "zeros",
        "extremes",
    } <= set(
        rows["fast"].parity.cases  # type: ignore[union-attr]
    )


LOST = {
    "raising": "could not be compiled: RuntimeError: no kernel for op 17",
    "strange": "it raised Odd: only colorsys knows",
    "confused": "could not be compiled: ZeroDivisionError",
    "crashing": "its process was killed by SIGSEGV; its last words: about to read nothing",
    "eating": "GiB of memory, 0.39 GiB is the limit, and was ended",
    "crashes-at-load": "its process was killed by SIGSEGV",
    "fails-at-load": "does not load: OSError: weights.npy holds version 9",
    "crashes-when-timed": "its process was killed by SIGSEGV",
}
SKIPPED = {"skipped": "there is no way from toy to skipped", "refusing": "a linear model has nothing to skip"}


def test_what_crashes_or_eats_the_memory_loses_only_itself(toys: Any, cache: Path, mark: str) -> None:
    found = searched(toys, cache, "fast", "told", "littering", *LOST, *SKIPPED)
    rows = table(found)
    assert {rows[t].outcome for t in ("fast", "told", "littering")} <= {"chosen", "kept", "slower"}
    for target, reason in LOST.items():
        assert (target, rows[target].outcome) == (target, "lost")
        assert reason in rows[target].reason
    for target, reason in SKIPPED.items():
        assert (rows[target].outcome, rows[target].reason) == ("skipped", reason)
    assert started(mark) == []


def test_what_hangs_is_ended_with_all_that_it_started(toys: Any, cache: Path, mark: str) -> None:
    searched(toys, cache, "fast")
    short = replace(LIMITS, seconds=3)
    found = searched(toys, cache, "hanging", "fast", "hangs-at-load", "hangs-when-timed", limits=short)
    reasons = {t: (r.outcome, r.reason) for t, r in table(found).items()}
    assert reasons == {
        "fast": ("chosen", ""),
        "hanging": ("lost", "took longer than 3 s and was ended"),
        "hangs-at-load": ("lost", "took longer than 3 s to load and was ended"),
        "hangs-when-timed": ("lost", "took longer than 3 s to time and was ended"),
    }
    assert started(mark) == []


SEARCHER = f"""
import sys
sys.path.insert(0, {str(IMPORTABLE)!r})
from pathlib import Path
from toys import compilers, models
from lockgate.services.compile.search import search
from lockgate.services.compile.targets import COMPILERS
from lockgate.services.compile.words import Candidate, Options
COMPILERS.update(compilers.registered())
search(models.about(), models.opener(), Options((Candidate("fast"), Candidate("hanging"))), Path(sys.argv[1]))
"""


def test_a_killed_search_leaves_no_process_and_nothing_in_the_way(
    toys: Any, tmp_path: Path, log: Callable[[], list[str]], mark: str
) -> None:
    command = [sys.executable, "-c", SEARCHER, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
        until(lambda: "hangs" in log() or parent.poll() is not None)
        assert len(started(mark)) > 4  # the search, the probe of `fast`, the compiler and its two children
        parent.send_signal(signal.SIGKILL)
    until(lambda: not started(mark))
    assert list((tmp_path / "cache").glob("*.building-*"))
    short = replace(LIMITS, seconds=3)
    found = searched(toys, tmp_path / "cache", "fast", "hanging", limits=short, max_batch=64, tolerance=Tolerance())
    assert table(found)["fast"].cached
    assert not list((tmp_path / "cache").glob("*.building-*"))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "not within 30 s"
        time.sleep(0.05)


def test_a_candidate_is_compiled_once(toys: Any, tmp_path: Path, log: Callable[[], list[str]]) -> None:
    first = searched(toys, tmp_path, "fast", "medium")
    again = searched(toys, tmp_path, "fast", "medium")
    assert log().count("compiled Fast fp32") == log().count("compiled Medium fp32") == 1
    assert log().count("opened") == 3  # for its own answers, and for each candidate
    assert [r.cached for r in first.rows] == [False, False]
    assert [r.cached for r in again.rows] == [True, True]
    assert [r.digest for r in first.rows] == [r.digest for r in again.rows]
    assert first.chosen is not None
    (first.chosen.path / "weights.npy").write_bytes(b"cut off")
    mended = searched(toys, tmp_path, "fast", "medium")
    assert [r.cached for r in mended.rows] == [False, True]
    assert table(mended)["fast"].outcome == "chosen"
    (mended.reference / "cases.npz").write_bytes(b"cut off")
    assert table(searched(toys, tmp_path, "fast"))["fast"].outcome == "chosen"


def test_concurrent_searches_compile_once(toys: Any, tmp_path: Path, log: Callable[[], list[str]]) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _i: searched(toys, tmp_path, "fast"), range(3)))
    assert sorted(log()) == ["compiled Fast fp32", "opened", "opened"]
    assert len({f.rows[0].digest for f in found}) == 1
    assert sorted(f.rows[0].cached for f in found) == [False, True, True]


def test_other_hardware_shares_no_artifact(
    toys: Any, tmp_path: Path, log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(toys, tmp_path, "fast")
    monkeypatch.setattr("lockgate.services.compile.fingerprint.cpu_features", lambda: frozenset({"avx9000"}))
    found = searched(toys, tmp_path, "fast")
    assert not found.rows[0].cached
    assert log().count("compiled Fast fp32") == 2


def test_what_takes_minutes_is_compiled_only_while_it_can_win(
    toys: Any, tmp_path: Path, log: Callable[[], list[str]]
) -> None:
    both = tuple(Candidate(t, p) for t in ("fast", "medium", "heavy") for p in ("fp32", "int8"))  # type: ignore[arg-type]
    wanted = replace(options(), candidates=(*both, Candidate("twin")))
    found = search(toys.about(), toys.opener(), wanted, tmp_path, lambda _line: None)
    rows = {str(row.candidate): row for row in found.rows}
    assert rows["twin fp32"].reason == "not compiled: fast fp32 has the same kernels, starts faster and was measured"
    heavy = {p: rows[f"heavy {p}"] for p in ("fp32", "int8")}
    first = next(p for p, row in heavy.items() if row.outcome == "slower")  # nothing was known of it
    other = "int8" if first == "fp32" else "fp32"  # as `fast` answers alike in both, either may lead by a hair
    assert heavy[other].outcome == "skipped"
    assert heavy[other].reason.startswith("not compiled: expected to take ")
    assert [line for line in log() if line.startswith("compiled Heavy")] == [f"compiled Heavy {first}"]


def test_of_what_takes_minutes_the_leading_precision_comes_first(
    toys: Any, tmp_path: Path, log: Callable[[], list[str]]
) -> None:
    named = (("varied", "fp32"), ("varied", "int8"), ("heavy-varied", "fp32"), ("heavy-varied", "int8"))
    wanted = replace(options(), candidates=tuple(Candidate(t, p) for t, p in named))  # type: ignore[arg-type]
    found = search(toys.about(), toys.opener(), wanted, tmp_path, lambda _line: None)
    rows = {str(row.candidate): row for row in found.rows}
    assert rows["varied int8"].outcome == "chosen"
    assert "compiled HeavyVaried int8" in log()
    assert rows["heavy-varied fp32"].reason.startswith("not compiled: expected to take ")
    assert "compiled HeavyVaried fp32" not in log()


def test_a_precision_that_two_targets_could_not_keep_is_not_compiled_for_minutes(
    toys: Any, tmp_path: Path, log: Callable[[], list[str]]
) -> None:
    named = (("fast", "fp32"), ("swapped", "int8"), ("misreading", "int8"), ("heavy", "int8"))
    wanted = replace(options(), candidates=tuple(Candidate(t, p) for t, p in named))  # type: ignore[arg-type]
    rows = table(search(toys.about(), toys.opener(), wanted, tmp_path, lambda _line: None))
    assert (rows["swapped"].outcome, rows["misreading"].outcome) == ("refused", "refused")
    assert rows["heavy"].reason == "not compiled: at int8 parity refused swapped and misreading"
    assert "compiled Heavy int8" not in log()


def test_a_thorough_search_compiles_and_measures_everything_to_the_end(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "fast", "medium", "twin", thorough=True)
    assert {r.outcome for r in found.rows} == {"chosen", "kept"}
    assert len({r.timings[0].rounds for r in found.rows}) == 1


def test_one_candidate_alone_before_one_that_takes_minutes(toys: Any, cache: Path) -> None:
    rows = table(searched(toys, cache, "fast", "heavy"))
    assert (rows["fast"].outcome, rows["heavy"].outcome) == ("chosen", "slower")


@pytest.mark.parametrize(
    ("minimize", "chosen"),
    [
        ("latency_p99", "fast"),
        ("seconds_per_row", "fast"),
        ("memory", "medium"),
        ("load_time", "medium"),
        ("size", "slow"),
    ],
)
def test_the_objective_decides(toys: Any, cache: Path, minimize: Any, chosen: str) -> None:
    """`large` is faster than `medium` but takes memory and disk, `late-loader` time to start."""
    rivals = {"memory": "large", "load_time": "late-loader", "size": "large"}.get(minimize, "slow")
    found = searched(toys, cache, chosen, rivals, objective=Objective(minimize))
    rows = table(found)
    assert rows[chosen].outcome == "chosen", {t: (r.outcome, r.reason) for t, r in rows.items()}


def test_what_is_over_a_limit_is_not_chosen_however_fast(toys: Any, cache: Path) -> None:
    rows = table(searched(toys, cache, "large", "medium", objective=Objective(max_memory=80 * 2**20)))
    assert (rows["large"].outcome, rows["medium"].outcome) == ("over a limit", "chosen")
    assert rows["large"].reason.endswith("MiB of memory, 80 MiB is the limit")
    limit = rows["medium"].load_seconds + 0.35
    rows = table(searched(toys, cache, "late-loader", "medium", objective=Objective(max_load_time=limit)))
    assert (rows["late-loader"].outcome, rows["medium"].outcome) == ("over a limit", "chosen")
    assert "s to load" in rows["late-loader"].reason


def test_machine_code_has_a_fallback_that_any_machine_may_load(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "machine-code", "slow", "medium", "corrupted")
    assert found.chosen is not None
    assert found.fallback is not None
    assert (found.chosen.target, found.fallback.target) == ("machine-code", "medium")
    assert searched(toys, cache, "fast", "medium").fallback is None


def test_further_batch_sizes_are_measured_for_the_table(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "fast", "medium", objective=Objective(batch_sizes=(1, 4)), also_measure=(8, 4))
    assert [t.batch for t in table(found)["fast"].timings] == [1, 4, 8]


def test_nothing_left_says_why(toys: Any, cache: Path) -> None:
    found = searched(toys, cache, "raising", "swapped")
    assert (found.chosen, found.fallback) == (None, None)
    assert [r.outcome for r in found.rows] == ["lost", "refused"]


def test_a_source_that_cannot_be_served_in_batches(toys: Any, tmp_path: Path) -> None:
    with pytest.raises(Unservable, match="answers the same row differently in batches of 1 and in larger ones"):
        search(toys.about("neighbours"), toys.neighbours, options("fast"), tmp_path, lambda _line: None)


def test_a_source_that_does_not_open_raises_what_opening_raised(toys: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="the file is not there"):
        search(toys.about(), toys.unopenable, options("fast"), tmp_path, lambda _line: None)
    assert not list(tmp_path.glob("*.building-*"))


def test_a_probe_proves_what_it_loads_and_not_what_was_compiled(toys: Any, cache: Path, tmp_path: Path) -> None:
    """One weight of the artifact's file is another one."""
    import shutil

    import numpy as np

    found = searched(toys, cache, "fast")
    assert found.chosen is not None
    artifact = Path(shutil.copytree(found.chosen.path, tmp_path / "artifact"))
    weights = np.load(artifact / "weights.npy")
    weights[2, 1] += 0.01
    np.save(artifact / "weights.npy", weights)
    with probe(artifact, found.reference, tmp_path / "log", LIMITS, 1) as prober:
        evidence = prober.prove(Tolerance(rows=32), 8)
    assert not evidence.passed
    assert evidence.worst_output in ("scores", "total")


ALONE = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pydantic", "psutil", "mlflow", "bentoml", "lockgate", "filelock", "yaml"}:
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Blocked())
"""
STANDING = """
import sys
from pathlib import Path
from standing import opened
from standing.compile.search import search
from standing.compile.words import Candidate, Options
found = search(opened.about(), opened.model, Options((Candidate("eager"),)), Path(sys.argv[1]))
print([(str(r.candidate), r.outcome, r.reason) for r in found.rows])
"""
OPENED = """
from pathlib import Path
import numpy as np
from .compile.words import About, Input, Model
def about():
    x = {"x": np.random.default_rng(1).normal(size=(8, 3))}
    return About("toy", "d", "sklearn", "cloudpickle", Path("x"), (Input("x", "float64", (-1, 3), False),), x)
def model():
    from sklearn.linear_model import LinearRegression
    found = about()
    x = found.example["x"]
    native = LinearRegression().fit(x, x @ [1.0, 2.0, 3.0])
    return Model(found, native, lambda x: {"prediction": native.predict(x["x"])})
"""


def test_the_compile_package_stands_alone(tmp_path: Path) -> None:
    """Copied under another name, as into a bento, and with nothing of ours or of the service's to import."""
    import shutil

    shutil.copytree(SOURCE / "lockgate/services/compile", tmp_path / "path/standing/compile")
    (tmp_path / "path/standing/__init__.py").touch()
    (tmp_path / "path/standing/opened.py").write_text(OPENED)
    (tmp_path / "path/sitecustomize.py").write_text(ALONE)  # every process on this path, also the search's children
    done = subprocess.run(
        [sys.executable, "-c", STANDING, str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "[('eager fp32', 'chosen', '')]" in done.stdout, done.stderr
