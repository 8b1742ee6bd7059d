from __future__ import annotations

from typing import Any

from sklearn.ensemble import RandomForestClassifier

from lockgate.registry.describe import describe
from lockgate.registry.source import load_source
from lockgate.registry.spec import Trust


def test_a_safe_model_needs_no_trust(shelf: Any, champion: str) -> None:
    shelf.point("champion", champion)

    found = describe(shelf.registry(), "fraud", "@champion")

    assert (found.flavour, found.storage, found.needs) == ("sklearn", "skops", Trust())
    assert [(i.name, i.dtype, i.column) for i in found.inputs] == [
        ("amount", "float64", True),
        ("age", "float64", True),
        ("hour", "float64", True),
    ]
    assert found.versions == {champion: ("champion",)}
    assert found.rows == 5


def test_what_it_needs_is_what_loading_asks_for(shelf: Any, table: Any, described: Any) -> None:
    model = RandomForestClassifier(n_estimators=2, random_state=0).fit(*table)
    options = described(model, table[0])
    skops = shelf.log("sklearn", model, skops_trusted_types=["sklearn.tree._tree.Tree"], **options)
    pickled = shelf.log("sklearn", model, serialization_format="cloudpickle", **options)
    registry = shelf.registry()

    by_types, by_pickle = (describe(registry, "fraud", version) for version in (skops, pickled))

    assert by_types.needs == Trust(types=("sklearn.tree._tree.Tree",))
    assert by_pickle.needs == Trust(pickle=True)
    for found in (by_types, by_pickle):
        load_source(registry.fetch(found.version), found.needs)
