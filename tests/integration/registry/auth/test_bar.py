"""The bar on MLflow's own page, in a real browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lockgate.registry.approvals import APPROVAL

BAR, PASSWORD = "#lockgate-bar", "a password of twelve characters"
HOSTILE = "<img src=x onerror=document.title='owned'>"
Page = Callable[[str, str], Any]


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("LOCKGATE_TEST_BROWSER") == "required":
            raise AssertionError("LOCKGATE_TEST_BROWSER says that there is a browser, and none is found")
        pytest.skip("there is no browser here")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, world: Any) -> Iterator[Page]:
    """`page(user, address)`: what that user sees there, and without the dialogs that MLflow greets them with."""
    contexts = []

    def opened(user: str, address: str, *, dark: bool = False) -> Any:
        context = browser.new_context(http_credentials={"username": user, "password": PASSWORD})
        contexts.append(context)
        context.set_default_timeout(30_000)
        if dark:
            context.add_init_script("localStorage.setItem('_mlflow_dark_mode_toggle_enabled', 'true')")
        found = context.new_page()
        found.goto(f"{world.server.uri}/{address}")
        return found

    yield opened
    for context in contexts:
        context.close()


def _pressed(page: Any, what: Any, text: str) -> str:
    """Enter on `what`, and what the bar then says, with `text`. Again where MLflow's page took the focus meanwhile."""
    from playwright.sync_api import TimeoutError as TooLate

    for _ in range(5):
        with contextlib.suppress(TooLate):
            what.press("Enter", timeout=3000)
        with contextlib.suppress(TooLate):
            page.wait_for_function(_SAYS, arg=text, timeout=3000)
            break
    return _says(page, text)


_SAYS = f"t => document.querySelector('{BAR}')?.innerText.includes(t)"


def _says(page: Any, text: str) -> str:
    page.wait_for_function(_SAYS, arg=text)
    said: str = page.inner_text(BAR)
    return said


@pytest.mark.timeout(180)
def test_two_people_approve_in_the_bar_with_the_keyboard_alone(world: Any, model: str, page: Page) -> None:
    world.ask(model, required=2, expires_at=4_000_000_000.0)
    address = f"#/models/{model}/versions/1"

    bobs = page("bob", address)
    said = _says(bobs, f"Promote {model} version 1?")
    assert "Asked by rollout r-1, expires in" in said
    assert "evidence dddddd…, for the role risk-leads, registered by: alice" in said
    bobs.get_by_role("textbox", name="Comment").fill(HOSTILE)
    approve = bobs.get_by_role("button", name="Approve")
    said = _pressed(bobs, approve, "1 of 2 approved, by bob")
    assert f": {HOSTILE} (identity verified)" in said
    assert "bob has approved this already" in _pressed(bobs, approve, "Lockgate: ")
    assert bobs.locator(f"{BAR} [role=alert]").count() == 1

    carols = page("carol", address)
    _says(carols, "1 of 2 approved, by bob")
    _pressed(carols, carols.get_by_role("button", name="Approve"), "Approved by carol")
    assert carols.locator(f"{BAR} button").count() == 0
    assert [bobs.title() == "owned", carols.title() == "owned"] == [False, False]
    assert world.alice.tags(model)[APPROVAL] == "approved"


@pytest.mark.timeout(180)
def test_a_rejection_and_the_pill_and_a_hostile_name(world: Any, numbers: Any, page: Page) -> None:
    name = f"{HOSTILE} {next(numbers)}"
    assert world.alice.call("POST", "registered-models/create", {"name": name}).is_success
    assert world.alice.register(name).is_success
    world.ask(name, expires_at=time.time() + 900)  # sooner than those of the other tests: it comes first

    seen = page("bob", "#/models")
    said = _says(seen, f"{name} version 1")
    assert said.startswith("Approvals pending: ")
    _pressed(seen, seen.locator(f"{BAR} a", has_text=name), f"Promote {name} version 1?")
    _pressed(seen, seen.get_by_role("button", name="Reject"), "Rejected by bob")

    assert seen.locator(f"{BAR} img").count() == 0
    assert seen.title() != "owned"
    assert world.alice.tags(name)[APPROVAL] == "rejected"


@pytest.mark.timeout(180)
def test_what_nobody_can_decide_any_more_is_not_in_the_pill(world: Any, numbers: Any, page: Page) -> None:
    gone, soon = f"gone-{next(numbers)}", f"soon-{next(numbers)}"
    for name, expires in ((gone, 1_700_000_000.0), (soon, time.time() + 600)):
        assert world.alice.call("POST", "registered-models/create", {"name": name}).is_success
        assert world.alice.register(name).is_success
        world.ask(name, expires_at=expires)

    seen = page("bob", "#/models")
    _says(seen, f"{soon} version 1")

    links = seen.locator(f"{BAR} a").all_inner_texts()
    assert links[0] == f"{soon} version 1"
    assert gone not in " ".join(links)
    assert world.pipeline.tag(soon, APPROVAL, "void: over").is_success


@pytest.mark.timeout(180)
def test_an_author_whom_nobody_knows_is_said_to_be_unknown(world: Any, model: str, page: Page) -> None:
    world.forget_author(model)
    world.ask(model)

    seen = page("bob", f"#/models/{model}/versions/1")
    assert "registered by: not known" in _says(seen, "Promote")
    assert "[author unknown: the version was registered before lockgate-auth]" in _pressed(
        seen, seen.get_by_role("button", name="Approve"), "Approved by bob"
    )


def test_a_page_without_a_question_has_no_bar(model: str, page: Page) -> None:
    seen = page("alice", f"#/models/{model}/versions/1")
    with seen.expect_response(lambda r: "model-versions/get?" in r.url):
        pass
    seen.wait_for_selector("text=Version 1")

    assert seen.locator(BAR).count() == 0


def test_the_bar_is_dark_where_mlflow_is(world: Any, model: str, page: Any) -> None:
    world.ask(model)

    colours = []
    for dark in (False, True):
        seen = page("bob", f"#/models/{model}/versions/1", dark=dark)
        _says(seen, "Promote")
        seen.wait_for_function("d => document.body.classList.contains('dark-mode') === d", arg=dark)
        colours.append(seen.evaluate(f"getComputedStyle(document.querySelector('{BAR}')).backgroundColor"))

    assert colours == ["rgb(255, 255, 255)", "rgb(31, 39, 45)"]
