"""The dashboards' JSON: current, as Grafana's own types have it, and about series that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lockgate.dashboards.grafana import look
from lockgate.dashboards.grafana.check import EMPTY, UNUSED
from lockgate.dashboards.grafana.pages import files
from lockgate.dashboards.grafana.queries import panels
from lockgate.dashboards.grafana.stored import FOLDER, documents
from lockgate.monitoring import catalog

DOCUMENTS = documents()
AGAIN = "run `python -m lockgate.dashboards.grafana generate`"
SAMPLES = {sample: series for series in catalog.CATALOG.values() for sample in series.samples}
TWO_SCREENS = 52
PALETTE = {value for name, value in vars(look).items() if name.isupper() and isinstance(value, str)}


def expressions(document: Mapping[str, Any]) -> Iterator[str]:
    for panel in panels(document):
        yield from (target["expr"] for target in panel["targets"])
    yield from (mark["target"]["expr"] for mark in document["annotations"]["list"])
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def series_of(expr: str) -> set[str]:
    return set(re.findall(r"\b(?:lockgate|envoy)_\w+", re.sub(r'\{[^}]*\}|"[^"]*"|by \([^)]*\)', "", expr)))


ALL = [(uid, expr) for uid, document in DOCUMENTS.items() for expr in expressions(document)]


def test_what_is_checked_in_is_what_is_generated() -> None:
    stored = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert stored == files(), AGAIN


@pytest.mark.parametrize(("name", "expr"), ALL)
def test_every_series_is_in_the_catalog(name: str, expr: str) -> None:
    used = series_of(expr)
    assert used <= set(SAMPLES), f"{name}: {expr}"
    assert used or "vector" in expr


@pytest.mark.parametrize(("name", "expr"), ALL)
def test_every_label_is_one_that_the_series_has(name: str, expr: str) -> None:
    for series, selector in re.findall(r"\b((?:lockgate|envoy)_\w+)\{([^}]*)\}", expr):
        found = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert found <= {*SAMPLES[series].labels, "le"}, f"{name}: {expr}"


def test_every_series_of_the_exporter_is_shown_or_left_out_for_a_reason() -> None:
    shown = {series for _, expr in ALL for series in series_of(expr)}
    every = {sample for series in catalog.of("exporter") for sample in series.samples}
    assert every - shown == set(UNUSED)


def test_what_may_be_empty_is_there() -> None:
    there = {(document["uid"], panel["title"]) for document in DOCUMENTS.values() for panel in panels(document)}
    there |= {
        (document["uid"], of["name"]) for document in DOCUMENTS.values() for of in document["annotations"]["list"]
    }
    assert set(EMPTY) <= there


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Of Grafana 13.2's own types: `python -m lockgate.dashboards.grafana schema` makes it."""
    return json.loads((Path(__file__).parent / "grafana.schema.json").read_text())


def faults(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """A panel is held against its own kind only, so that the fault is said and not that no kind fits."""
    whole = schema["definitions"]["Lockgate"]
    kinds = {of["properties"]["type"]["const"]: of for of in whole["properties"]["panels"]["items"]["anyOf"]}
    without = {**whole, "properties": {**whole["properties"], "panels": {}}}
    found = list(jsonschema.Draft7Validator(without).iter_errors(document))
    for panel in [*panels(document), *(panel for panel in document["panels"] if panel["type"] == "row")]:
        found += jsonschema.Draft7Validator(kinds[panel["type"]]).iter_errors(panel)
    return [f"{fault.json_path}: {fault.message}" for fault in found]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_grafanas_types_allow_all_of_it(schema: dict[str, Any], name: str) -> None:
    assert faults(schema, DOCUMENTS[name]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("panels", 1, "gridPos", "x"), "nope"),
        (("panels", 1, "options", "showValue"), "sometimes"),
        (("panels", 9, "fieldConfig", "defaults", "custom", "lineWidht"), 1),
        (("templating", "list", 0, "type"), "choice"),
        (("annotations", "list", 0, "target", "expr"), None),
    ],
)
def test_grafanas_types_refuse_what_grafana_does_not_know(
    schema: dict[str, Any], path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads((FOLDER / "rollout.json").read_text())
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert len(faults(schema, document)) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_panels_stand_side_by_side_and_fill_two_screens_at_most(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DOCUMENTS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {x for x, _ in taken} == set(range(24))
    assert {y for _, y in taken} == set(range(max(y for _, y in taken) + 1))
    assert max(y for _, y in taken) < TWO_SCREENS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_panels_have_numbers_titles_and_descriptions_of_their_own(name: str) -> None:
    every = [*DOCUMENTS[name]["panels"], *(of for row in DOCUMENTS[name]["panels"] for of in row.get("panels", []))]
    assert len({panel["id"] for panel in every}) == len(every)
    drawn = [panel for panel in every if panel["type"] != "row"]
    assert len({panel["title"] for panel in drawn}) == len(drawn)
    assert all(panel["description"].endswith(".") for panel in drawn)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_reader_chooses_the_data_source(name: str) -> None:
    document = DOCUMENTS[name]
    asking = [*panels(document), *(of for panel in panels(document) for of in panel["targets"])]
    asking += document["annotations"]["list"]
    assert {json.dumps(of["datasource"], sort_keys=True) for of in asking} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }
    assert document["templating"]["list"][0]["name"] == "datasource"


def test_every_colour_is_of_the_palette_that_everybody_tells_apart() -> None:
    text = "".join(files().values())
    found = set(re.findall(r'"(?:color|fixedColor|iconColor)": "([^"]+)"', text))
    assert found <= PALETTE | {"text", "transparent", "rgba(255,0,255,0.7)"}  # the last is of exemplars: there are none


def test_links_lead_to_dashboards_that_there_are() -> None:
    uids = {document["uid"] for document in DOCUMENTS.values()}
    found = set(re.findall(r"/d/([\w-]+)", "".join(files().values())))
    assert found
    assert found <= uids


def test_the_provisioning_names_what_there_is() -> None:
    folder = FOLDER.parent / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "lockgate.yaml").read_text())
    provider = yaml.safe_load((folder / "dashboards" / "lockgate.yaml").read_text())
    assert source["apiVersion"] == provider["apiVersion"] == 1
    assert [of["type"] for of in source["datasources"]] == ["prometheus"]
    assert [of["type"] for of in provider["providers"]] == ["file"]
    assert provider["providers"][0]["options"]["path"]
