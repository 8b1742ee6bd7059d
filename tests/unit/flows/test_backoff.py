"""How long to wait before something that died is started again."""

from __future__ import annotations

from itertools import pairwise

from lockgate.flows.backoff import LONGEST, STEADY, Backoff


def starts(backoff: Backoff, until: float, lives: float = 0.0) -> list[float]:
    """Seconds at which it is started, when it lives so long after each start; looked at ten times a second."""
    found: list[float] = []
    for tenth in range(int(until * 10)):
        now = tenth / 10
        if found and now - found[-1] < lives:
            backoff.up(now)
        elif backoff.due(now):
            backoff.tried(now)
            found.append(now)
    return found


def test_the_first_start_comes_at_once_and_the_others_ever_later_up_to_a_minute() -> None:
    found = starts(Backoff(dice=lambda: 0.0), 290)
    pauses = [later - earlier for earlier, later in pairwise(found)]
    assert found[0] == 0.0
    assert [round(pause) for pause in pauses] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_two_that_died_at_the_same_moment_do_not_start_at_the_same_moment_for_ever() -> None:
    early, late = starts(Backoff(dice=lambda: 1.0), 300), starts(Backoff(dice=lambda: 0.0), 300)
    assert all(a < b for a, b in zip(early[2:], late[2:], strict=False))
    assert max(b - a for a, b in pairwise(early)) >= LONGEST * 0.7


def test_after_a_steady_time_the_next_death_is_a_first_one() -> None:
    steady = starts(Backoff(dice=lambda: 0.0), 10 * STEADY, lives=STEADY + 1)
    assert [round(b - a) for a, b in pairwise(steady)] == [round(STEADY + 1)] * (len(steady) - 1)
    shaky = starts(Backoff(dice=lambda: 0.0), 10 * STEADY, lives=STEADY - 5)
    assert shaky[-1] - shaky[-2] >= LONGEST  # it died after 55 s, and waited
