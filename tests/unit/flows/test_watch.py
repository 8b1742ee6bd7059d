"""A terminal shows what others wrote, and obeys none of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lockgate.flows.cli import main
from lockgate.flows.watch import Terminal
from lockgate.registry.errors import NoSuchVersion

HOSTILE = "a reason with [/red], [link=http://x]y[/link] and \x1b]0;title\x07"


def test_a_spinner_and_a_line_show_markup_as_it_stands() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, highlight=False, width=120)
    with Terminal(console).busy() as terminal:
        terminal.say(HOSTILE)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("[/red], [link=http://x]y[/link]") == 2  # the line, and the spinner below it
    assert "\x1b]0;" not in shown


def test_what_is_printed_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print("[/red] [bold]")
    assert capsys.readouterr().out == "[/red] [bold]\n"


def test_an_error_is_words_and_no_orders_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some of the words are the registry's, and so somebody else's."""

    def fails(**_: object) -> None:
        raise NoSuchVersion(f"{HOSTILE}\nand a second line")

    monkeypatch.setattr("lockgate.flows.cli.cli", fails)
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said == "lockgate: a reason with [/red], [link=http://x]y[/link] and  ]0;title \nand a second line\n"
