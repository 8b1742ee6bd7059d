from __future__ import annotations

import pytest

from lockgate.registry.auth import settings
from lockgate.registry.auth.errors import NotStarted


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "there is nothing to sign with: set LOCKGATE_APPROVAL_KEY"),
        ({"LOCKGATE_APPROVAL_KEY": ""}, "there is nothing to sign with"),
        ({"LOCKGATE_APPROVAL_KEY": "short"}, "LOCKGATE_APPROVAL_KEY has 5 characters"),
    ],
)
def test_without_a_key_worth_the_name_nothing_starts(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(NotStarted, match=reason):
        settings.key(environment)


def test_the_key_is_what_the_environment_says() -> None:
    assert settings.key({"LOCKGATE_APPROVAL_KEY": "0123456789abcdef"}) == b"0123456789abcdef"


def test_servers_that_would_not_ask_us_are_refused() -> None:
    settings.uvicorn({})
    settings.uvicorn({"_MLFLOW_SGI_NAME": "uvicorn"})
    with pytest.raises(NotStarted, match="leave --gunicorn-opts out"):
        settings.uvicorn({"_MLFLOW_SGI_NAME": "gunicorn"})
