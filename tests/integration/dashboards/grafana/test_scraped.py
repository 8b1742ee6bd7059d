"""Every panel has something to show in a real Prometheus that scraped rollouts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from click.testing import CliRunner

from lockgate.dashboards.grafana.__main__ import main
from lockgate.dashboards.grafana.ask import Prometheus
from lockgate.dashboards.grafana.check import checked
from lockgate.dashboards.grafana.errors import Unanswered
from lockgate.dashboards.grafana.queries import Asked, Times
from lockgate.dashboards.grafana.sample.stories import stories
from lockgate.dashboards.grafana.stored import documents
from lockgate.dashboards.grafana.viewer.page import Sight, page

PIPELINES = [story.name for story in stories()]
MORE_STEPS = {("lockgate-rollout", "Timeline", letter) for letter in "GHI"}
"""Of a sixth step and later ones: no story has so many."""


@pytest.fixture(scope="module")
def found(scraped_prometheus: Any) -> dict[str, list[Any]]:
    """What the check finds, by pipeline."""
    with Prometheus(scraped_prometheus.url) as prometheus:
        return {
            name: list(checked(documents(), prometheus, {"name": name}, scraped_prometheus.times)) for name in PIPELINES
        }


@pytest.mark.parametrize("name", PIPELINES)
def test_every_panel_of_every_pipeline_has_data_or_says_why_not(found: dict[str, list[Any]], name: str) -> None:
    assert [of for of in found[name] if of.wrong] == []


def test_every_query_has_data_in_some_pipeline(found: dict[str, list[Any]]) -> None:
    most: dict[tuple[str, str, str], int] = defaultdict(int)
    for each in found.values():
        for of in each:
            for letter, series in of.series.items():
                most[of.dashboard, of.panel, letter] = max(most[of.dashboard, of.panel, letter], series)
    assert {query for query, series in most.items() if not series} == MORE_STEPS


def test_each_variant_of_a_canary_has_a_line_of_its_own(found: dict[str, list[Any]]) -> None:
    series = {of.panel: of.series for of in found["fraud"] if of.dashboard == "lockgate-rollout"}
    assert series["Requests"] == {"A": 2, "B": 1}
    assert series["Errors"] == {"A": 2, "B": 1}
    assert series["Latency p99"] == {"A": 2, "B": 1}
    assert series["Step"] == {"Anno": 5}


def test_the_viewer_gets_an_answer_to_each_query_and_a_panel_for_each_gate(scraped_prometheus: Any) -> None:
    with Prometheus(scraped_prometheus.url) as prometheus:
        drawn = page(documents()["rollout"], prometheus, Sight({"name": "fraud"}, scraped_prometheus.times))
    titles = [of["panel"]["title"] for of in drawn["panels"]]
    assert [title for title in titles if title in ("agreement", "errors", "latency", "scores", "slo")] == sorted(
        ["agreement", "errors", "latency", "scores", "slo"]
    )
    assert all(len(of["answers"]) == len(of["panel"].get("targets", [])) for of in drawn["panels"])
    assert len(drawn["page"]["marks"]) >= 7, "each once, and again where a scrape came late"


def test_the_command_says_what_it_found(scraped_prometheus: Any) -> None:
    since = f"{scraped_prometheus.times.end - scraped_prometheus.times.start:.0f}s"
    arguments = ["check", "--prometheus", scraped_prometheus.url, "--since", since, "--every", "1s"]
    arguments += ["--until", str(scraped_prometheus.times.end)]
    good = CliRunner().invoke(main, [*arguments, "--name", "fraud"])
    assert good.exit_code == 0, good.output
    assert "✔ lockgate-rollout / Requests  A:2 B:1" in good.output
    bad = CliRunner().invoke(main, [*arguments, "--name", "nobody"])
    assert bad.exit_code == 1
    assert "✖ lockgate-rollout / Requests  A:0 B:0  EMPTY" in bad.output


def test_a_refused_query_and_a_silent_address_are_sentences(scraped_prometheus: Any) -> None:
    times = Times(0.0, 60.0)
    with Prometheus(scraped_prometheus.url) as prometheus, pytest.raises(Unanswered, match="refuses rate"):
        prometheus.series(Asked("d", "p", "A", "rate(x)", latest=True, step=1), times)
    with Prometheus("http://127.0.0.1:9") as prometheus, pytest.raises(Unanswered, match="is the address right"):
        prometheus.series(Asked("d", "p", "A", "x", latest=True, step=1), times)
