"""What a dashboard asks, with its variables as Grafana replaces them."""

from __future__ import annotations

import pytest

from lockgate.dashboards.grafana.check import Found
from lockgate.dashboards.grafana.queries import Times, asked, filled, repeated
from lockgate.dashboards.grafana.sample.feed import Feed, backfilled, scraped
from lockgate.dashboards.grafana.sample.series import sample

HOUR = Times(0.0, 3600.0, every=15.0)
DOCUMENT = {
    "uid": "u",
    "templating": {"list": [{"name": "gate", "includeAll": True, "allValue": ".*"}, {"name": "name"}]},
}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ('{name="$name"}', '{name="fraud"}'),
        ('{name="${name}"}', '{name="fraud"}'),
        ('{name=~"${name:regex}"}', '{name=~"fraud"}'),
        ('{name="$names"}', '{name="$names"}'),
        ("rate(x[$__rate_interval])", "rate(x[$__rate_interval])"),
    ],
)
def test_variables_are_replaced_where_they_are_whole_and_known(text: str, becomes: str) -> None:
    assert filled(text, {"name": "fraud"}) == becomes


def test_what_is_not_chosen_is_all() -> None:
    panel = {"title": "t", "targets": [{"refId": "A", "expr": 'x{gate=~"$gate", name="$name"}', "instant": True}]}
    (query,) = asked(DOCUMENT, panel, {"name": "fraud"}, HOUR)
    assert query.expr == 'x{gate=~".*", name="fraud"}'
    assert query.latest


def test_rates_are_of_no_less_than_four_scrapes() -> None:
    panel = {
        "title": "t",
        "maxDataPoints": 400,
        "targets": [{"refId": "A", "expr": "[$__rate_interval]", "instant": False}],
    }
    assert [query.expr for query in asked(DOCUMENT, panel, {}, HOUR)] == ["[60s]"]
    week = Times(0.0, 7 * 86_400.0, every=15.0)
    (query,) = asked(DOCUMENT, panel, {}, week)
    assert (query.step, query.expr) == (1512, "[1527s]")


def test_a_repeated_panel_is_there_once_for_each_value_side_by_side() -> None:
    panel = {
        "title": "$gate",
        "repeat": "gate",
        "maxPerRow": 2,
        "gridPos": {"x": 0, "y": 5, "w": 24, "h": 6},
        "targets": [{"expr": 'x{gate=~"$gate"}'}],
    }
    found = repeated(panel, ["a", "b", "c"])
    assert [(of["title"], of["gridPos"]["x"], of["gridPos"]["y"]) for of in found] == [
        ("a", 0, 5),
        ("b", 12, 5),
        ("c", 0, 11),
    ]
    assert found[2]["targets"][0]["expr"] == 'x{gate=~"c"}'
    assert panel["title"] == "$gate"


def test_an_empty_panel_is_wrong_unless_that_means_something() -> None:
    assert Found("lockgate-rollout", "Requests", {"A": 0, "B": 0}).wrong
    assert not Found("lockgate-rollout", "Requests", {"A": 0, "B": 1}).wrong
    assert not Found("lockgate-rollout", "Effect", {"A": 0}).wrong
    assert Found("lockgate-rollout", "Effect", {}, error="it refuses").wrong


def test_the_sample_has_only_series_and_labels_of_the_catalog() -> None:
    with pytest.raises(KeyError):
        sample("lockgate_rollout_mood", 1, name="fraud")
    with pytest.raises(ValueError, match="the catalog says"):
        sample("lockgate_rollout_open", 1, name="fraud", colour="red")
    assert str(sample("lockgate_rollout_open", 1, name="fraud")) == 'lockgate_rollout_open{name="fraud"} 1.0'


def test_the_sample_never_counts_backwards() -> None:
    feed, last = Feed(100.0), {}
    for second in range(0, 100, 5):
        for line in scraped(feed, float(second), 1e9 + second).splitlines():
            series, _, value = line.rpartition(" ")
            if "_total{" in series or "_bucket{" in series or "_rq_completed{" in series:
                assert float(value) >= last.get(series, 0.0), series
                last[series] = float(value)
    assert last


def test_a_backfilled_sample_has_every_moment_and_an_end() -> None:
    lines = list(backfilled(30.0, 1000.0, 15.0))
    assert {line.rsplit(" ", 1)[1] for line in lines[:-1]} == {"970.000\n", "985.000\n", "1000.000\n"}
    assert lines[-1] == "# EOF\n"
