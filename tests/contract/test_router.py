"""What every adapter of the port `Router` does."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.words import WHOLE, Endpoint, Routes

ONE, TWO, THREE = (Endpoint("127.0.0.1", port) for port in (9, 10, 11))
SPLIT = Routes((ONE,), (TWO,), 500, 2500, 50, "salt:1")


@pytest.mark.parametrize(
    "routes",
    [
        SPLIT,
        Routes((ONE, TWO), (THREE,), WHOLE, WHOLE),
        Routes((ONE,), (TWO,)),
        Routes((TWO,), (), salt="other_2"),
    ],
)
def test_what_is_applied_is_served(case: Any, routes: Routes) -> None:
    case.router.apply(routes)
    assert case.router.applied() == routes
    case.router.apply(routes)
    assert case.router.applied() == routes


def test_the_order_of_endpoints_has_no_meaning(case: Any) -> None:
    case.router.apply(Routes((TWO, ONE)))
    assert case.router.applied() == Routes((ONE, TWO))


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
    ],
)
def test_what_is_refused_changes_nothing(case: Any, routes: Routes) -> None:
    case.router.apply(SPLIT)
    with pytest.raises(RouterRefused):
        case.router.apply(routes)
    assert case.router.applied() == SPLIT


def test_a_router_that_is_down_says_so(case: Any) -> None:
    case.take_down()
    with pytest.raises(RouterDown):
        case.router.apply(SPLIT)
    with pytest.raises(RouterDown):
        case.router.applied()
