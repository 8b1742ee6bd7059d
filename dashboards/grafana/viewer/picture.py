"""Takes a picture of the viewer's page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockgate.dashboards.grafana.errors import NoViewer
from lockgate.dashboards.grafana.viewer.page import WIDTH

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

_ORIGIN = "http://viewer"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_WITHIN = 60_000
_TALLEST = 3000
"""Pixels: what is outside of the window is not drawn."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def camera(dist: Path) -> Iterator[Page]:
    """A browser's page that has the viewer; nothing of it comes from a network."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if not found:
        raise NoViewer("there is no Chromium on this machine; install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": _TALLEST}, device_scale_factor=1)
        page.route("**/*", lambda route: _serve(route, dist))
        yield page
        browser.close()


def _serve(route: Route, dist: Path) -> None:
    name = route.request.url.removeprefix(f"{_ORIGIN}/").split("?")[0]
    file = dist / name
    if not file.is_file():
        route.fulfill(status=404)
    else:
        route.fulfill(path=file, content_type=_KINDS.get(file.suffix, "application/octet-stream"))


def taken(page: Page, drawn: Mapping[str, Any], out: Path) -> None:
    """Writes the picture. Raises `NoViewer` when the page cannot be drawn."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script(f"window.lockgate = {json.dumps(drawn)}")
    page.goto(f"{_ORIGIN}/page.html")
    page.wait_for_function("window.drawn || window.failed", timeout=_WITHIN)
    if why := page.evaluate("window.failed") or "; ".join(said):
        raise NoViewer(f"the page of {drawn['page']['title']} cannot be drawn: {why}")
    page.locator("#app").screenshot(path=out)
