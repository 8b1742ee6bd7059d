"""How many threads an engine's call has here: the machine's owner, what was proven, and the cores that there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.services.serving import threads
from lockgate.services.spec import Compile, Replicas, Resources, ServiceSpec


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 16 cores, without control groups; nobody has said anything."""
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(threads, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    return tmp_path


def put(machine: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = machine / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"cgroup": "0::/\n", "groups/cpu.max": "400000 100000\n"}, 4),
        ({"cgroup": "0::/\n", "groups/cpu.max": "max 100000\n"}, 16),
        ({"cgroup": "0::/\n", "groups/cpu.max": "50000 100000\n"}, 1),
        ({"cgroup": "0::/a/b\n", "groups/a/cpu.max": "350000 100000\n", "groups/a/b/cpu.max": "max 100000\n"}, 3),
        ({"cgroup": "0::/gone\n", "groups/cpu.max": "200000 100000\n"}, 2),
        (
            {
                "cgroup": "5:devices:/\n2:cpu,cpuacct:/x\n0::/\n",
                "groups/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "groups/cpu,cpuacct/x/cpu.cfs_quota_us": "600000",
                "groups/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            6,
        ),
    ],
)
def test_cores_are_what_affinity_and_quotas_leave(machine: Path, files: dict[str, str], cores: int) -> None:
    put(machine, files)
    assert threads.cores() == cores


def test_a_group_may_have_any_name(machine: Path) -> None:
    name = os.fsdecode(b"caf\xc3\xa9\xff\x0b")
    (machine / "cgroup").write_bytes(b"0::/caf\xc3\xa9\xff\x0b\n")
    put(machine, {f"groups/{name}/cpu.max": "200000 100000\n"})
    assert threads.cores() == 2


def test_an_artifact_gets_what_it_was_proven_with_as_far_as_the_cores_go(machine: Path) -> None:
    assert [threads.threads(n) for n in (1, 4, 64)] == [1, 4, 16]
    put(machine, {"cgroup": "0::/\n", "groups/cpu.max": "200000 100000\n"})
    assert threads.threads(4) == 2


def test_the_machines_owner_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert threads.threads(8) == 3
    options = ServiceSpec(resources=Resources(threads=8)).options("cpu")
    assert (options.threads, options.most_threads) == (3, 3)


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5"])
def test_an_owner_who_says_no_number_is_told_so(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, said)
    with pytest.raises(ValueError, match="set it to a whole number of threads from 1 on"):
        threads.threads(1)


@pytest.mark.parametrize(
    ("spec", "device", "asked"),
    [
        (ServiceSpec(), "cpu", (1, 8)),  # stable and candidate side by side
        (ServiceSpec(replicas=Replicas(min=3)), "cpu", (1, 2)),
        (ServiceSpec(replicas=Replicas(min=9)), "cpu", (1, 1)),
        (ServiceSpec(resources=Resources(threads=4)), "cpu", (4, 4)),
        (ServiceSpec(resources=Resources(threads=99)), "cpu", (16, 16)),
        (ServiceSpec(compile=Compile(device="cuda")), None, (1, 1)),
        (ServiceSpec(), "cuda", (1, 1)),
    ],
)
def test_what_the_search_may_try(spec: ServiceSpec, device: str | None, asked: tuple[int, int]) -> None:
    options = spec.options(device)
    assert (options.threads, options.most_threads) == asked
