"""Marks on all graphs: when a step began, when people were asked, when a rollout ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lockgate.dashboards.grafana.look import BLUE, GREEN, RED, SKY, YELLOW
from lockgate.dashboards.grafana.promql import present_step
from lockgate.dashboards.grafana.targets import NAME, SOURCE

_ON = "* on (name) group_left"


@dataclass(frozen=True, slots=True)
class Mark:
    """`expr`: a value above 0 marks its moment, or is the moment itself, in milliseconds, where `timed`.

    `text` may name labels.
    """

    name: str
    expr: str
    text: str
    colour: str
    timed: bool = True

    def to_json(self) -> dict[str, Any]:
        """The foundation SDK knows no annotations of Prometheus, so this is how Grafana keeps them."""
        return {
            "name": self.name,
            "datasource": SOURCE.to_json(),
            "enable": True,
            "hide": False,
            "iconColor": self.colour,
            "target": {"refId": "Anno", "expr": self.expr},
            "titleFormat": self.name,
            "textFormat": self.text,
            "tagKeys": "",
            "useValueForTime": self.timed,
        }


def marks() -> tuple[Mark, ...]:
    """Of the pipeline `$name`. A phase has no time of its own: what is new since the last point is marked there."""
    since = f"lockgate_rollout_step_since_timestamp_seconds{{{NAME}}}"
    ended = f'lockgate_rollout_phase{{{NAME}, phase=~"succeeded|rolled_back|failed"}} == 1'
    back = f'lockgate_rollout_phase{{{NAME}, phase="rolling_back"}}'
    return (
        Mark("Opened", f"1000 * lockgate_rollout_opened_timestamp_seconds{{{NAME}}}", "a rollout is opened", SKY),
        Mark("Step", f"1000 * {since} {_ON} (step) ({present_step(NAME)})", "{{step}}", BLUE),
        Mark(
            "Approval asked",
            f"1000 * lockgate_approval_asked_timestamp_seconds{{{NAME}}}",
            "{{role}} are asked to approve",
            YELLOW,
        ),
        Mark("Rolling back", f"{back} == 1 unless ({back} offset $__interval == 1)", "rolling back", RED, timed=False),
        Mark(
            "Ended",
            f"1000 * lockgate_rollout_closed_timestamp_seconds{{{NAME}}} {_ON} (phase) ({ended})",
            "{{phase}}",
            GREEN,
        ),
    )
