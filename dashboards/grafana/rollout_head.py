"""Where the rollout is: the first thing that one looks for."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders import stat, statetimeline
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from lockgate.dashboards.grafana.layout import Line, line
from lockgate.dashboards.grafana.look import (
    CANDIDATE,
    GREY,
    ORANGE,
    QUIET,
    RED,
    SKY,
    YELLOW,
    phases,
    steps,
    texts,
    yes_no,
)
from lockgate.dashboards.grafana.panels import background, number, thresholds, timeline
from lockgate.dashboards.grafana.promql import phase_number, present_step
from lockgate.dashboards.grafana.targets import NAME, Query, now

_SINCE = f"lockgate_rollout_step_since_timestamp_seconds{{{NAME}}}"
_EXPIRES = f"lockgate_approval_expires_timestamp_seconds{{{NAME}}}"
_MINUTES, _OVER = 600, -1e9
_MOST_STEPS = 8


def head() -> tuple[Line, ...]:
    return (
        line(3, _phase(), _step(), _weight(), _requests(), _time(), _approval(), _held(), _driven()),
        line(7, _timeline()),
    )


def _phase() -> stat.Panel:
    panel = number("Phase", "What the rollout is doing.", now(phase_number(NAME)))
    return background(panel).mappings(phases())


def _step() -> stat.Panel:
    shown = now(present_step(NAME), "{{step}}")
    panel = number("Step", "The present step, as the spec names it.", shown)
    return panel.text_mode(common.BigValueTextMode.NAME).no_value("none")


def _weight() -> stat.Panel:
    shown = now(f'lockgate_rollout_weight_ratio{{{NAME}, variant!="stable"}}', "{{variant}}")
    about = "Share of the live requests that each challenger answers. Copies of a shadow step are not answers."
    panel = number("Weight", about, shown).unit("percentunit").decimals(0)
    return panel.thresholds(thresholds(steps(CANDIDATE)))


def _requests() -> stat.Panel:
    shown = now(f'lockgate_rollout_step_requests{{{NAME}, variant!="stable"}}', "{{variant}}")
    return number("Requests in the step", "That the candidate answered since the step began.", shown).unit("short")


def _time() -> stat.Panel:
    about = "How long the step may still last; where it is over, the step's on_timeout says what happens."
    left = f"{_SINCE} + lockgate_rollout_step_timeout_seconds{{{NAME}}} - time()"
    panel = number("Step's time left", about, now(f"{left} and lockgate_rollout_open{{{NAME}}} == 1")).unit("s")
    return (
        panel.decimals(0)
        .no_value("no limit")
        .thresholds(thresholds(steps("text", (_OVER, RED), (0, ORANGE), (_MINUTES, "text"))))
    )


def _approval() -> stat.Panel:
    about = "Whom the rollout waits for, and how long what they were asked still holds."
    left = f"({_EXPIRES} - time()) and on (name, role) lockgate_approval_pending{{{NAME}}} == 1"
    panel = number("Approval: time left", about, now(left, "{{role}}")).unit("s").decimals(0)
    panel = panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    return background(panel).no_value("not asked").thresholds(thresholds(steps(QUIET, (_OVER, RED), (0, YELLOW))))


def _held() -> stat.Panel:
    about = (
        "Drift of the inputs holds the rollout, or a person paused it: no step goes on, a failing gate still ends it."
    )
    number_of = f"lockgate_rollout_held{{{NAME}}} + 2 * lockgate_rollout_paused{{{NAME}}}"
    words = {"0": ("no", QUIET), "1": ("by drift", ORANGE), "2": ("paused", YELLOW), "3": ("both", ORANGE)}
    return background(number("Held", about, now(number_of))).mappings(texts(words))


def _driven() -> stat.Panel:
    about = "Whether a process holds the lease and decides. Nobody: traffic stays as it is; `lockgate run` resumes it."
    panel = number("Driven", about, now(f"lockgate_controller_driven{{{NAME}}}"))
    return background(panel).mappings(yes_no("yes", "by nobody", QUIET, RED))


def _steps() -> Iterator[Query]:
    """One query each, so that they stand in their order; the last has all that come after it."""
    for i in range(1, _MOST_STEPS + 1):
        which = ">=" if i == _MOST_STEPS else "=="
        yield Query(f"({present_step(NAME)}) and on (name) lockgate_rollout_step{{{NAME}}} {which} {i}", "{{step}}")


def _timeline() -> statetimeline.Panel:
    about = "Phases and steps of the rollout, and when it was held, paused or waited for people."
    panel = timeline(
        "Timeline",
        about,
        Query(phase_number(NAME), "phase"),
        *_steps(),
        Query(f"lockgate_approval_pending{{{NAME}}} == 1", "waits for {{role}}"),
        Query(f"lockgate_rollout_held{{{NAME}}} == 1", "held by drift"),
        Query(f"lockgate_rollout_paused{{{NAME}}} == 1", "paused"),
    )
    panel = panel.mappings(texts({"1": (" ", SKY)}))
    for letter, colour in zip("JKL", (YELLOW, ORANGE, GREY), strict=True):
        panel = panel.override_by_query(letter, [DynamicConfigValue("mappings", texts({"1": (" ", colour)}))])
    return panel.override_by_query("A", [DynamicConfigValue("mappings", phases())])
