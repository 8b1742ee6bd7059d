from __future__ import annotations

import pytest

from lockgate.services.serving.accept import forms


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("", ("json",)),
        ("nonsense", ("json",)),
        ("*/*", ("json", "npy")),
        ("application/x-npy", ("npy",)),
        ("Application/X-NPY;q=0.5, application/json", ("json", "npy")),
        ("application/x-npy, */*", ("npy", "json")),
        ("application/*;q=0.2, application/json;q=0", ("npy",)),
        ("text/html", ()),
        ("*/*;q=0", ()),
    ],
)
def test_what_a_client_accepts(accept: str, found: tuple[str, ...]) -> None:
    assert forms(accept.encode()) == found
