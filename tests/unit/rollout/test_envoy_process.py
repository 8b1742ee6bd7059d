from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.rollout.envoy import cores as own
from lockgate.rollout.envoy.process import workers
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.spec import Traffic
from lockgate.services.serving import threads

NO_INOTIFY = """\
[2026-01-01 00:00:00.000][1][critical][assert] [watcher_impl.cc:25] assert failure: inotify_fd_ >= 0. Details: \
Consider increasing value of fs.inotify.max_user_watches and/or fs.inotify.max_user_instances via sysctl
[2026-01-01 00:00:00.000][1][error][envoy_bug] [assert.h:60] stacktrace for envoy bug
[2026-01-01 00:00:00.000][1][error][envoy_bug] [assert.h:66] #0 UNKNOWN [0x558a110e322c]
[2026-01-01 00:00:00.000][1][critical][backtrace] [backtrace.h:173] Caught Aborted, suspect faulting address 0x41c3
[2026-01-01 00:00:00.000][1][critical][backtrace] [backtrace.h:167] #0: [0x7f8a310ab050]
"""


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (7, 2), (11, 2), (12, 3), (128, 4)])
def test_two_workers_then_one_for_four_cores_and_at_most_four(
    monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    monkeypatch.setattr(own, "_OF_THIS_PROCESS", Path("/no/such/file"))
    assert workers() == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4),
        ({"cgroup": "0::/\n", "groups/cpu.max": "max 100000\n"}, 4),
        ({"cgroup": "0::/\n", "groups/cpu.max": "100000 100000\n"}, 1),
        ({"cgroup": "0::/a/b\n", "groups/a/cpu.max": "900000 100000\n", "groups/a/b/cpu.max": "max 100000\n"}, 2),
        (
            {
                "cgroup": "5:devices:/\n2:cpu,cpuacct:/x\n0::/\n",
                "groups/cpu,cpuacct/x/cpu.cfs_quota_us": "1300000",
                "groups/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            3,
        ),
    ],
)
def test_workers_are_of_what_a_quota_leaves_as_replicas_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    """Of a machine of 64 cores."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    for module in (own, threads):
        monkeypatch.setattr(module, "_CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(module, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    assert workers() == expected
    assert own.cores() == threads.cores()


def test_an_envoy_that_crashed_at_its_start_says_why(tmp_path: Path) -> None:
    """And not the last line of its backtrace. Seen with 18 routers and the kernel's usual 128 inotify instances."""
    router = EnvoyRouter(tmp_path, Traffic())
    router.at.create()
    router.at.envoy_log.write_text(NO_INOTIFY)
    assert router._last_words().startswith("Consider increasing value of fs.inotify.max_user_watches")
    router.at.envoy_log.write_text(f"{NO_INOTIFY}[1] first\n[2] last\n")
    assert router._last_words() == "[2] last", "and not what a crash before it was about"
