"""People approve and reject in MLflow's own page, in a real browser; the server knows who they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(400)]

STEPS = [
    {"shadow": {"percent": 100, "hold": {"min_requests": 50}, "timeout": "90s"}},
    {"approval": {"role": "risk-leads", "expires": "1h"}},
    {"canary": {"weight": 50, "hold": {"min_requests": 20}, "timeout": "90s"}},
]
_CHROMIUM = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-quic")  # fmt: skip


@dataclass
class Office:
    """A pipeline, the MLflow server that it asks, and a browser for each person; `people`: the plugin's own tests'."""

    shop: Any
    server: Any
    people: Any
    browser: Any
    number: str = ""
    """Of the version that alice registered."""
    model: str = ""
    """Where its files are on the server's disk."""
    _known: dict[str, Any] = field(default_factory=dict)

    def someone(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self.people.Someone(name, self.server.uri)
        return self._known[name]

    def close(self) -> None:
        for person in self._known.values():
            person.http.close()

    def page(self, name: str) -> Any:
        """The version's page, as this person sees it."""
        who = {"username": name, "password": self.people.PASSWORD}
        context = self.browser.new_context(http_credentials=who, viewport={"width": 1400, "height": 1300})
        page = context.new_page()
        page.goto(f"{self.server.uri}/#/models/toy/versions/{self.number}")
        return page

    def alice_registers(self, template: Path) -> None:
        """A copy of the good model, with her name on it, as the challenger."""
        alice, root = self.someone("alice"), self.someone("root")
        made = {"name": "scientists", "workspace": "default"}
        role = self.people._admin(root, "3.0/mlflow/roles/create", made)["role"]
        for kind in ("registered_model", "registered_model_version"):
            grant = {"role_id": role["id"], "resource_type": kind, "resource_pattern": "*", "permission": "MANAGE"}
            self.people._admin(root, "3.0/mlflow/roles/permissions/add", grant)
        self.people._admin(root, "3.0/mlflow/roles/assign", {"username": "alice", "role_id": role["id"]})
        made = alice.call("POST", "experiments/create", {"name": "alice's"}).json()["experiment_id"]
        run = alice.call("POST", "runs/create", {"experiment_id": made}).json()["run"]["info"]["run_id"]
        self.model = f"{made}/{run}/artifacts/model"
        for path in sorted(files_of(template).rglob("*")):
            if path.is_file():
                at = f"/api/2.0/mlflow-artifacts/artifacts/{self.model}/{path.relative_to(files_of(template))}"
                assert alice.http.put(at, content=path.read_bytes()).is_success
        body = {"name": "toy", "source": f"mlflow-artifacts:/{self.model}", "run_id": run}
        answer = alice.call("POST", "model-versions/create", body)
        assert answer.is_success, answer.text
        self.number = answer.json()["model_version"]["version"]
        assert alice.point("toy", "challenger", self.number).is_success

    def until_asked(self) -> None:
        self.shop.until(
            "alice's version is to be approved", lambda: self.tags().get("lockgate.approval") == "pending", 150
        )

    def tags(self) -> dict[str, str]:
        return dict(self.shop.tags(int(self.number)))


def files_of(template: Path) -> Path:
    """The files of version 2 of the toy model."""
    with sqlite3.connect(template / "mlflow.db") as db:
        (source,) = db.execute("select source from model_versions where version = 2").fetchone()
        model = source.removeprefix("models:/")
        (at,) = db.execute("select artifact_location from logged_models where model_id = ?", (model,)).fetchone()
    return Path(at.removeprefix("file://"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None and os.environ.get("LOCKGATE_TEST_BROWSER") != "required":
        pytest.skip("there is no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        it = playwright.chromium.launch(executable_path=found, args=[*_CHROMIUM])
        yield it
        it.close()


@pytest.fixture
def office(workshop: Any, template: Path, browser: Any, from_file: Any) -> Iterator[Office]:
    people = from_file("integration/registry/auth/conftest.py")
    server = people.started(from_file("integration/registry/served.py"), workshop.root)
    it = Office(workshop, server, people, browser)
    try:
        server.wait()
        people._people(it.someone("root"))
        it.alice_registers(template)
        workshop.env |= {
            "MLFLOW_TRACKING_URI": server.uri,
            "MLFLOW_TRACKING_USERNAME": "pipeline",
            "MLFLOW_TRACKING_PASSWORD": people.PASSWORD,
            "LOCKGATE_APPROVAL_KEY": people.KEY,
        }
        workshop.write(steps=STEPS)
        yield it
    finally:
        for process in workshop.started:
            process.terminate()
            process.wait(20)
        it.close()
        server.stop()


def press(page: Any, button: str, comment: str) -> None:
    page.get_by_label("Comment").fill(comment)
    page.get_by_role("button", name=button, exact=True).click()


def test_the_author_is_refused_and_a_risk_lead_lets_it_go_on(office: Office) -> None:
    shop = office.shop
    assert shop.cli("up").returncode == 0
    with shop.traffic(rate=100) as traffic:
        run = shop.start("run")
        office.until_asked()
        alice = office.page("alice")
        alice.get_by_role("heading", name=f"Let toy version {office.number} go on").wait_for()
        alice.get_by_text("errors").first.wait_for()
        picture(alice, "approval-page.png")
        press(alice, "Approve", "I am sure")
        alice.get_by_role("alert").get_by_text("alice").wait_for()
        picture(alice, "approval-refused.png")
        assert office.tags()["lockgate.approval"] == "pending"

        bob = office.page("bob")
        press(bob, "Approve", "the numbers are fine")
        shop.until("the rollout goes on", lambda: shop.reached("progressing/2"), 30)
        picture(bob, "approval-bar.png")
        assert run.wait(150) == 0
    assert traffic.failures == []
    assert shop.aliases()["champion"] == int(office.number)
    (said,) = [e for e in shop.events() if e["what"] == "approved"]
    assert (said["by"], said["comment"], said["verified"]) == ("bob", "the numbers are fine", True)
    assert "bob" in shop.cli("history", "toy").stdout


def test_a_rejection_rolls_back(office: Office) -> None:
    shop = office.shop
    assert shop.cli("up").returncode == 0
    with shop.traffic(rate=100) as traffic:
        run = shop.start("run")
        office.until_asked()
        press(office.page("carol"), "Reject", "not before Monday")
        assert run.wait(60) == 10
    assert traffic.failures == []
    assert set(traffic.seen(traffic.answers[-1].at - 0.5)) == {"1"}
    (said,) = [e for e in shop.events() if e["what"] == "rejected"]
    assert (said["by"], said["comment"]) == ("carol", "not before Monday")
    assert shop.aliases()["champion"] == 1


def picture(page: Any, name: str) -> None:
    """For docs/approvals.md, where somebody wants it."""
    if folder := os.environ.get("LOCKGATE_PICTURES"):
        if (assistant := page.get_by_role("button", name="Close")).count():
            assistant.first.click()
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / name)
