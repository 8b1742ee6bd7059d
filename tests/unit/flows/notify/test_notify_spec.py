"""The `notify:` section: addresses are understood, wrong ones are found at once, and secrets stay where they are."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from lockgate.flows.errors import SpecError
from lockgate.flows.notify.receivers import receivers
from lockgate.flows.notify.services import service
from lockgate.flows.spec import Spec, parse

SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/hunter2hunter2hunter2xxx"
TEAMS = (
    "https://prod-1.westus.logic.azure.com:443/workflows/643736f6c6e64/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=hunter2"
)
DISCORD = "https://discord.com/api/webhooks/4174216298/hunter2hunter2"


def written(webhook: str, on: str = "promoted") -> str:
    return f"""
name: toy
model: {{name: toy}}
rollout:
  steps: [{{canary: {{weight: 5}}}}]
  gates: {{errors: {{metric: error_rate}}}}
notify: [{{on: [{on}], webhook: {json.dumps(webhook)}}}]
"""


def spec_with(url: str) -> Spec:
    return parse(written("${URL}"), "f", {"URL": url})


def mistakes(webhook: str, **environment: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(written(webhook), "f", environment)
    return [f"{p.line} {p.path}: {p.message}" for p in caught.value.problems]


@pytest.mark.parametrize(
    ("url", "known"),
    [
        (SLACK, "Slack"),
        (DISCORD, "Discord"),
        (TEAMS, "Power Automate / Workflows (for MSTeams)"),
        ("mailto://bob:hunter2@gmail.com", "E-Mail"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/hunter2hunter2hunter2xxx", "Slack"),
        ("https://mattermost.example.com/hooks/hunter2", None),
        ("https://alerts.example.com/notify/hunter2", None),
        ("http://127.0.0.1:9/hooks?key=hunter2", None),
        ("mmosts://mattermost.example.com/hunter2hunter2hunter2xxx", "Mattermost"),
    ],
)
def test_an_address_is_told_by_its_looks(url: str, known: str | None) -> None:
    assert spec_with(url).notify[0].webhook == url
    found = service(url)
    assert (found and str(found.service_name)) == known


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not an address"),
        ("hunter2", "is not an address; write the variable"),
        (f"{SLACK}\n", "white space at its ends"),
        ("https:///hunter2", "has no host"),
        ("https://hooks.example.com:hunter2/", "or a port that is none"),
        ("https://[hunter2/", "is not an address"),
        ("https://hooks.slack.com/services/T1JJ3T3L2/hunter2", "not a whole address of a Slack webhook"),
        ("hunter://hunter2", "nor an address that Apprise understands"),
        ("slack://hunter2", "nor an address that Apprise understands"),
    ],
)
def test_a_wrong_one_is_found_and_not_repeated(url: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        found = mistakes("${URL}", URL=url)
    assert len(found) == 1
    assert found[0].startswith("7 notify[0].webhook: ")
    assert said in found[0]
    assert "hunter2" not in found[0] + caplog.text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (SLACK, "an address with a path is a secret"),
        ("https://alerts.example.com/?key=x", "secret"),
        ("https://bob:x@alerts.example.com", "secret"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/hunter2hunter2hunter2xxx", "secret"),
    ],
)
def test_a_secret_in_the_file_is_refused_with_how_to_write_it(url: str, why: str) -> None:
    found = mistakes(url)
    assert why in found[0]
    assert '"${SLACK_URL}"' in found[0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/hook", "http://localhost/x", "http://[::1]:9/x", "https://a.example/"]
)
def test_what_is_no_secret_may_stand_there(url: str) -> None:
    assert parse(written(url), "f", {}).notify[0].webhook == url


def test_it_is_said_beside_every_other_mistake() -> None:
    with pytest.raises(SpecError) as caught:
        parse(written(SLACK, "promotet").replace("weight", "wieght"), "f", {})
    assert [p.path for p in caught.value.problems] == [
        "rollout.steps[0].canary.wieght",
        "notify[0].on[0]",
        "notify[0].webhook",
    ]


def test_a_part_from_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hunter2")
    spec = parse(written("https://mm.example.com/hooks/${KEY}"))
    assert spec.notify[0].webhook == "https://mm.example.com/hooks/hunter2"
    assert spec.document["notify"][0]["webhook"] == "https://mm.example.com/hooks/${KEY}"
    assert Spec.of(json.loads(json.dumps(spec.document))) == spec


def test_it_is_neither_stored_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", SLACK)
    spec = parse(written("${URL}"))
    (to,) = receivers(spec)
    assert (to.name, to.url) == ("${URL}", SLACK)
    for shown in (json.dumps(spec.document), repr(spec), repr(to), repr(spec.notify), to.key):
        assert "hunter2" not in shown
    monkeypatch.setenv("URL", "hunter2")
    with pytest.raises(ValueError, match=r"notify\.0\.webhook") as caught:  # a stored spec is read anew
        Spec.of(spec.document)
    assert "hunter2" not in str(caught.value)


def test_apprise_writes_into_logs_for_others_and_not_for_us(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        service(SLACK)
        assert "hunter2" not in caplog.text
        logging.getLogger("apprise").warning("for somebody else")
    assert "for somebody else" in caplog.text


def test_the_same_receiver_is_known_again_whatever_its_address_is_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(url: str, **how: Any) -> str:
        monkeypatch.setenv("URL", url)
        return receivers(parse(written("${URL}", **how)))[0].key

    assert key(SLACK) == key(DISCORD)
    assert key(SLACK) != key(SLACK, on="promoted, failed")
