"""What every adapter of the port `Router` does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lockgate.rollout.errors import Fenced, RouterDown, RouterRefused
from lockgate.rollout.words import WHOLE, Endpoint, Other, Routes

ONE, TWO, THREE = (Endpoint("127.0.0.1", port) for port in (9, 10, 11))
SPLIT = Routes((ONE,), (TWO,), 500, 2500, 50, "salt:1")
MANY = Routes((ONE,), (TWO,), 2000, others=(Other("v14", (THREE,), 2000), Other("small", (TWO, THREE), 2000)))


@pytest.mark.parametrize(
    "routes",
    [
        SPLIT,
        Routes((ONE, TWO), (THREE,), WHOLE, WHOLE),
        Routes((ONE,), (TWO,)),
        Routes((TWO,), (), salt="other_2"),
        MANY,
        replace(MANY, others=MANY.others[::-1]),
        replace(MANY, candidate=(), others=(Other("v14", (), 2000), MANY.others[1])),
        replace(MANY, weight=0, others=(Other("a" * 31, (THREE,), WHOLE), Other("b-2", (), 0))),
    ],
)
def test_what_is_applied_is_served(case: Any, routes: Routes) -> None:
    case.router.apply(routes)
    assert case.router.applied() == routes
    case.router.apply(routes)
    assert case.router.applied() == routes


def test_the_order_of_endpoints_has_no_meaning(case: Any) -> None:
    case.router.apply(Routes((TWO, ONE), others=(Other("b", (THREE, ONE)), Other("a"))))
    assert case.router.applied() == Routes((ONE, TWO), others=(Other("b", (ONE, THREE)), Other("a")))


def test_others_come_change_and_go(case: Any) -> None:
    moved = replace(MANY.others[0], endpoints=(ONE,))
    for others in ((), MANY.others, (moved, *MANY.others[1:]), (moved,), (Other("v14", (), 2000),), (), MANY.others):
        case.router.apply(replace(MANY, others=others))
        assert case.router.applied() == replace(MANY, others=others)


@pytest.mark.parametrize(
    "routes",
    [
        Routes(()),
        Routes((ONE,), (), weight=1),
        Routes((ONE,), (), mirror=1),
        Routes((ONE,), (TWO,), weight=WHOLE + 1),
        Routes((ONE,), (TWO,), weight=-1),
        Routes((ONE,), (TWO,), mirror=WHOLE + 1),
        Routes((ONE,), (TWO,), echo=WHOLE + 1),
        *(
            Routes((ONE,), others=(Other(name, (TWO,), 1),))
            for name in ("stable", "candidate", "", "A", "1", "a_b", "-")
        ),
        Routes((ONE,), others=(Other("a" * 32, (TWO,), 1),)),
        Routes((ONE,), others=(Other("a\n", (TWO,), 1),)),
        Routes((ONE,), others=(Other("a", (TWO,), 1), Other("a", (THREE,), 1))),
        Routes((ONE,), others=(Other("a", (TWO,), -1),)),
        Routes((ONE,), (TWO,), weight=5000, others=(Other("a", (TWO,), 5001),)),
        Routes((ONE,), mirror=1, others=(Other("a", (TWO,), 1),)),
    ],
)
def test_what_is_refused_changes_nothing(case: Any, routes: Routes) -> None:
    case.router.apply(SPLIT)
    with pytest.raises(RouterRefused):
        case.router.apply(routes)
    assert case.router.applied() == SPLIT


def test_what_is_not_wanted_any_more_changes_nothing(case: Any) -> None:
    def gone() -> bool:
        raise Fenced("somebody else went on")

    case.router.apply(SPLIT)
    assert case.router.apply(SPLIT, lambda: True)
    assert not case.router.apply(MANY, lambda: False)
    with pytest.raises(Fenced):
        case.router.apply(MANY, gone)
    assert case.router.applied() == SPLIT
    assert case.router.apply(MANY, lambda: True)
    assert case.router.applied() == MANY


def test_a_router_that_is_down_says_so(case: Any) -> None:
    case.take_down()
    with pytest.raises(RouterDown):
        case.router.apply(SPLIT)
    with pytest.raises(RouterDown):
        case.router.applied()
