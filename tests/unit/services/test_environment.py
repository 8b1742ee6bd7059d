"""A process that runs somebody's model learns none of our secrets, and keeps everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.services.compile import environment
from lockgate.services.compile.apart import call
from lockgate.services.compile.words import Limits

OURS = {
    "LOCKGATE_APPROVAL_KEY": "k",
    "LOCKGATE_WEBHOOK_SECRET": "s",
    "LOCKGATE_STATE_URL": "postgresql://db/x",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "p",
    "MLFLOW_TRACKING_TOKEN": "t",
    "MLFLOW_TRACKING_URI": "https://me:p@mlflow.example.org",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "f",
    "PREFECT_API_KEY": "k",
    "prefect_api_key": "k",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Bearer k"}',
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://me:p@db/prefect",
}
THEIRS = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://me:p@proxy:3128",
    "AWS_SECRET_ACCESS_KEY": "of the model's own bucket",
    "MODEL_KEY": "a word of its author's",
    "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
    "LOCKGATE_HOME": "/var/lib/lockgate",
    "LOCKGATE_CAPTURE": "/var/lib/lockgate/capture",
    "LOCKGATE_REPLICA": "5a",
}


def test_what_opens_our_doors_stays_here() -> None:
    assert environment.handed_on(OURS) == {}
    assert environment.handed_on(THEIRS) == THEIRS


def test_what_the_spec_refers_to_stays_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_withheld", {})
    environment.withhold(["SLACK_URL"])
    assert environment.handed_on({"SLACK_URL": "https://hooks.example.org/x", "HOME": "/"}) == {"HOME": "/"}


def test_what_every_process_needs_is_handed_on_whatever_the_spec_refers_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_withheld", {})
    basic = dict.fromkeys(("HOME", "LC_ALL", "PYTHONPATH", "https_proxy", "SSL_CERT_FILE", "CUDA_VISIBLE_DEVICES"), "x")
    secret = {"HOME_ASSISTANT": "x", "PYTHON_TOKEN": "x"}
    environment.withhold([*basic, *secret])
    assert environment.handed_on({**basic, **secret}) == basic


def test_one_specs_variables_are_not_withheld_from_anothers_replicas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_withheld", {})
    environment.withhold(["FRAUD_DB"], tmp_path / "fraud")
    environment.withhold(["CHURN_DB"], tmp_path / "churn")
    given = {"FRAUD_DB": "f", "CHURN_DB": "c"}
    assert environment.handed_on(given, tmp_path / "fraud" / "r1") == {"CHURN_DB": "c"}
    assert environment.handed_on(given, tmp_path / "churn") == {"FRAUD_DB": "f"}
    assert environment.handed_on(given) == environment.handed_on(given, tmp_path / "elsewhere") == {}


def _seen() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_a_process_that_compiles_a_model_is_given_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODEL_KEY", "a word of its author's")
    seen = call(_seen, tmp_path / "work", Limits(60, 2**30))
    assert not set(OURS) & set(seen)
    assert seen["MODEL_KEY"] == "a word of its author's"
