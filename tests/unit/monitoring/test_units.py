"""Quantities as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lockgate.monitoring.units import (
    Bytes,
    Margin,
    Percent,
    Seconds,
    Share,
    percent,
    percent_text,
    seconds,
    seconds_text,
    share,
    share_text,
    size,
    size_text,
)


@pytest.mark.parametrize(
    ("read", "written", "value"),
    [
        (seconds, "250ms", 0.25),
        (seconds, "0.1ms", 0.0001),
        (seconds, "1.1ms", 0.0011),
        (seconds, "5s", 5.0),
        (seconds, "30m", 1800.0),
        (seconds, "2h", 7200.0),
        (seconds, "7d", 604800.0),
        (seconds, "1h30m", 5400.0),
        (seconds, "1.5h", 5400.0),
        (seconds, "1m1ms", 60.001),
        (share, "0.5%", 0.005),
        (share, "33.3 %", 0.333),
        (share, "0.07%", 0.0007),
        (share, "150%", 1.5),
        (share, 0.005, 0.005),
        (share, 1, 1.0),
        (share, 0, 0.0),
        (percent, 5, 5.0),
        (percent, 2.5, 2.5),
        (percent, "5%", 5.0),
        (percent, "0.5 %", 0.5),
        (percent, 1, 1.0),
        (size, "16MiB", 16 * 2**20),
        (size, "1GB", 10**9),
        (size, "512B", 512),
        (size, "1.5 KiB", 1536),
        (size, "2KB", 2000),
    ],
)
def test_good(read: Callable[[object], float], written: object, value: float) -> None:
    assert read(written) == value


DURATION = "is not a duration; write a number and a unit (ms, s, m, h, d), like 250ms or 1h30m"
SHARE = "is not a share; write a percentage like 0.5% or a fraction like 0.005"
PERCENT = "is not a percentage; write a number from 0 to 100, like 5 or 5%"
SIZE = "is not a size; write a number and a unit (B, KiB, MiB, GiB), like 16MiB"


@pytest.mark.parametrize(
    ("read", "written", "sentence"),
    [
        *(
            (seconds, text, f"{text!r} {DURATION}")
            for text in (
                "",
                "5",
                "s",
                "5 s",
                "5sec",
                "-5s",
                "1e3s",
                "5s ",
                "5S",
                ".5s",
                "5.s",
                "5s and",
                "\N{ARABIC-INDIC DIGIT FIVE}s",
                "1h 30m",
            )
        ),
        (seconds, 5, f"5 {DURATION}"),
        (seconds, None, f"an empty value {DURATION}"),
        (seconds, True, f"true {DURATION}"),
        (seconds, ["5s"], f"a list {DURATION}"),
        *((share, text, f"{text!r} {SHARE}") for text in ("", "%", "5", "-5%", "5%%", "0,5%", "5 percent", "1e-3%")),
        (share, {"a": 1}, f"a mapping {SHARE}"),
        (share, False, f"false {SHARE}"),
        (share, 20, "20 is more than 1; for a percentage write 20%"),
        (share, 1.5, "1.5 is more than 1; for a percentage write 1.5%"),
        *((percent, text, f"{text!r} {PERCENT}") for text in ("", "5", "five", "-5%")),
        (percent, 0.05, "0.05 could mean 0.05% or 5%; write it with the percent sign"),
        *((size, text, f"{text!r} {SIZE}") for text in ("", "16", "16M", "16mb", "-1B", "16 MiB ", "1TiB", "16iB")),
        (size, 16, f"16 {SIZE}"),
    ],
)
def test_bad(read: Callable[[object], float], written: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is compared
        read(written)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (Seconds, "0s"),
        (Seconds, "367d"),
        (Share, "101%"),
        (Share, -0.1),
        (Share, float("nan")),
        (Margin, -0.1),
        (Margin, float("inf")),
        (Margin, float("nan")),
        (Percent, 0),
        (Percent, "0%"),
        (Percent, "100.1%"),
        (Percent, 101),
        (Percent, float("nan")),
        (Bytes, "0B"),
        (Bytes, "0.5B"),
    ],
)
def test_out_of_range(kind: Any, written: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(written)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (seconds_text(0.25), "250ms"),
        (seconds_text(90.0), "90s"),
        (seconds_text(7200.0), "2h"),
        (seconds_text(1.5), "1.5s"),
        (seconds_text(604800.0), "7d"),
        (share_text(0.005), "0.5%"),
        (share_text(0.0), "0%"),
        (percent_text(0.07), "0.07%"),
        (size_text(16 * 2**20), "16MiB"),
        (size_text(1000), "1000B"),
        (size_text(0), "0B"),
    ],
)
def test_text(text: str, expected: str) -> None:
    assert text == expected


POSITIVE = st.floats(1e-9, 1)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Seconds, st.floats(1e-6, 366 * 86400)),
        (Share, st.just(0.0) | POSITIVE),
        (Margin, st.floats(1e-9, 100)),
        (Percent, st.floats(1e-6, 100)),
        (Bytes, st.integers(1, 2**50)),
    ],
    ids=["seconds", "share", "margin", "percent", "bytes"],
)
def test_what_is_written_to_json_is_read_back_exactly(kind: Any, values: st.SearchStrategy[float]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    @given(values)
    def both_ways(value: float) -> None:
        assert adapter.validate_json(adapter.dump_json(value)) == value

    both_ways()
