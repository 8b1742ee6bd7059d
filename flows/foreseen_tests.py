"""What the tests of `ab` steps can prove, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from lockgate.flows.foreseen import duration


def shown(step: dict[str, Any], traffic: dict[str, Any]) -> Iterator[RenderableType]:
    test = step["test"]
    yield f"{step['step']}: {_question(test)}"
    if test["impossible"]:
        yield f"{test['impossible']}; choose a smaller minimum_effect"
        return
    yield _users(test, traffic)
    yield ""
    yield _table(step)
    yield ""
    yield _found(test)


def _question(test: dict[str, Any]) -> str:
    least = f" by at least {_percent(test['minimum_effect'])} of stable's" if test["minimum_effect"] else ""
    return f"does {test['metric']} get {test['better']} with the candidate{least}?"


def _users(test: dict[str, Any], traffic: dict[str, Any]) -> str:
    name, rates = test["metric"], traffic["rates"]
    what = (
        f"{_percent(rates[name])} of stable's do it" if name in rates else f"deviation {traffic['cvs'][name]:g} means"
    )
    said = f"{traffic['users_per_day']:,.0f} new users a day, {what}; a user counts after {duration(test['lag'])}"
    return f"{said}; as if the weight stayed, which Thompson sampling moves" if test["allocation"] != "fixed" else said


def _table(step: dict[str, Any]) -> Table:
    table = Table(
        "when it is", "half of the tests end", f"within {duration(step['timeout'])}", box=None, padding=(0, 2)
    )
    table.columns[0].no_wrap = True
    for each in step["test"]["supposed"]:
        promoted, sent_back = each["promoted"], each["sent_back"]
        table.add_row(
            _gain(each["gain"]),
            _ends(each, step["test"]),
            f"{promoted:.0%} promoted, {sent_back:.0%} sent back, {max(1 - promoted - sent_back, 0):.0%} open",
        )
    return table


def _gain(gain: float) -> str:
    if not gain:
        return "no different"
    return f"{_percent(abs(gain))} {'better' if gain > 0 else 'worse'}"


def _ends(each: dict[str, Any], test: dict[str, Any]) -> str:
    if not each["gain"] and not test["minimum_effect"]:
        on_timeout = {"rollback": "roll back", "hold": "hold"}[test["on_timeout"]]
        return f"at the timeout, with: {on_timeout}; a minimum_effect of 0 decides nothing between equals"

    def one(which: str) -> str:
        users, seconds = each["users"][which], each["seconds"][which]
        return f"after {users:,.0f} users, {duration(seconds)}" if users is not None else "not within a year"

    return f"{one('median')} (90 %: {one('most')})"


def _found(test: dict[str, Any]) -> str:
    smallest = test["smallest"]
    found = f"4 in 5 tests find it {smallest * 100:.2g}% better in time" if smallest else "no effect is found in time"
    return f"{found}; at most {test['alpha']:.0%} of tests promote by chance what is no better"


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
