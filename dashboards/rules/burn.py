"""Alerts on the error budget: how fast clients' errors use up what the objective allows in 30 days.

Two windows each: the long one says that it matters, the short one that it still goes on (Google, "The Site Reliability
Workbook", chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.dashboards.rules.words import Alert, Severity

OBJECTIVE = 99.9
"""Percent of the clients' requests that are answered without a 5xx."""


@dataclass(frozen=True, slots=True)
class _Speed:
    word: str
    factor: float
    """Times the rate that uses up the budget in just 30 days."""
    short: str
    long: str
    waits: str
    severity: Severity
    used: str


_SPEEDS = (
    _Speed("Fast", 14.4, "5m", "1h", "2m", "critical", "2 % of the month's budget goes in an hour"),
    _Speed("Slowly", 6.0, "30m", "6h", "15m", "warning", "5 % of the month's budget goes in six hours"),
)


def alerts(objective: float = OBJECTIVE) -> tuple[Alert, ...]:
    """`objective`: percent. Raises `ValueError` for one that leaves no budget, or nothing else."""
    if not 0 < objective < 100:
        raise ValueError(f"the objective is a share of the requests between 0 and 100 %, not {objective:g} %")
    return tuple(_alert(speed, objective) for speed in _SPEEDS)


def _alert(speed: _Speed, objective: float) -> Alert:
    percent = f"{speed.factor * (100 - objective):.6g}"
    limit = f"{float(percent) / 100:.6g}"
    short, long = (f"lockgate:client_error_ratio:rate{window}" for window in (speed.short, speed.long))
    return Alert(
        f"LockgateErrorBudgetBurns{speed.word}",
        speed.severity,
        f"{short} > {limit} and {long} > {limit}",
        speed.waits,
        f"Clients of {{{{ $labels.name }}}} get errors more than {speed.factor:g} times as fast as the budget allows",
        f"{{{{ $value | humanizePercentage }}}} of the answers of the last {speed.short} were errors (5xx), and more"
        f" than {percent} % of those of the last {speed.long}: {speed.used}. The objective is {objective:g} %.",
        "Look which variant fails: `lockgate:error_ratio:rate5m` by variant. If it is the candidate, failover should"
        " hide it from clients, and the gates roll it back; `lockgate abort NAME` does at once. If it is stable, look"
        " at its replicas' logs ($LOCKGATE_HOME/NAME/replicas/logs) and at what changed outside Lockgate.",
    )
