from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from lockgate.registry.errors import Untrusted, Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust


def load(shelf: Any, version: str, trust: Trust | None = None) -> Any:
    registry = shelf.registry()
    return load_source(registry.fetch(registry.resolve("fraud", version)), trust or Trust())


def test_a_classifier_answers_labels_and_probabilities(shelf: Any, champion: str, classifier: Any, table: Any) -> None:
    source = load(shelf, champion)
    answer = source.run({name: table[0][name].to_numpy() for name in table[0]})

    assert (source.storage, source.file) == ("skops", "model.skops")
    np.testing.assert_array_equal(answer["label"], classifier.predict(table[0]))
    np.testing.assert_allclose(answer["probabilities"], classifier.predict_proba(table[0]))
    check_batches(source)


def test_a_regressor_answers_a_prediction(shelf: Any, table: Any, described: Any) -> None:
    model = LinearRegression().fit(*table)
    source = load(shelf, shelf.log("sklearn", model, **described(model, table[0])))

    assert {n: v.shape for n, v in source.run(source.fetched.example).items()} == {"prediction": (5,)}


def test_a_classifier_without_probabilities_answers_labels(shelf: Any, table: Any, described: Any) -> None:
    model = LinearSVC().fit(*table)
    source = load(shelf, shelf.log("sklearn", model, **described(model, table[0])))

    assert list(source.run(source.fetched.example)) == ["label"]


def test_a_matrix_stays_a_matrix(shelf: Any, table: Any, described: Any) -> None:
    values = table[0].to_numpy()
    model = LogisticRegression().fit(values, table[1])
    source = load(shelf, shelf.log("sklearn", model, **described(model, values)))

    assert list(source.fetched.example) == ["input"]
    np.testing.assert_array_equal(source.run({"input": values})["label"], model.predict(values))
    check_batches(source)


def test_columns_of_several_kinds_come_back_as_the_table(shelf: Any, described: Any) -> None:
    frame = pd.DataFrame({"carrier": ["AA", "UA", "DL"] * 10, "delay": np.arange(30.0), "late": [True, False] * 15})
    transform = make_column_transformer((OneHotEncoder(), ["carrier"]), (StandardScaler(), ["delay", "late"]))
    model = make_pipeline(transform, LogisticRegression()).fit(frame, (frame["delay"] > 12).astype(int))
    source = load(shelf, shelf.log("sklearn", model, **described(model, frame)))

    assert {n: v.dtype.name for n, v in source.fetched.example.items()} == {
        "carrier": "object",
        "delay": "float64",
        "late": "bool",
    }
    answer = source.run({name: frame[name].to_numpy() for name in frame})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(frame))
    check_batches(source)


def test_types_of_a_skops_file_need_the_users_word(shelf: Any, table: Any, described: Any) -> None:
    """MLmodel lists them as trusted, but who wrote the model wrote the MLmodel: only the spec's list counts."""
    model = RandomForestClassifier(n_estimators=2, random_state=0).fit(*table)
    version = shelf.log("sklearn", model, skops_trusted_types=["sklearn.tree._tree.Tree"], **described(model, table[0]))

    with pytest.raises(Untrusted) as refused:
        load(shelf, version, Trust(types=("my.Own",)))

    assert "types that nobody vouched for: sklearn.tree._tree.Tree." in str(refused.value)
    assert str(refused.value).endswith("model:\n  trust:\n    types:\n      - my.Own\n      - sklearn.tree._tree.Tree")
    source = load(shelf, version, Trust(types=("sklearn.tree._tree.Tree",)))
    np.testing.assert_array_equal(source.run(source.fetched.example)["label"], model.predict(table[0][:5]))


@pytest.mark.parametrize("storage", ["pickle", "cloudpickle"])
def test_a_pickle_needs_the_users_word(shelf: Any, classifier: Any, table: Any, described: Any, storage: str) -> None:
    version = shelf.log("sklearn", classifier, serialization_format=storage, **described(classifier, table[0]))

    with pytest.raises(Untrusted, match=rf"fraud version 1 is stored as {storage}: .*serialization_format='skops'"):
        load(shelf, version)
    with pytest.raises(Untrusted, match="pickle: true"):
        load(shelf, version, Trust(types=("sklearn.linear_model.LogisticRegression",)))

    source = load(shelf, version, Trust(pickle=True))
    assert (source.storage, source.file) == (storage, "model.pkl")
    check_batches(source)


def test_a_pickle_that_calls_itself_skops_is_not_unpickled(
    shelf: Any, classifier: Any, table: Any, described: Any
) -> None:
    version = shelf.log("sklearn", classifier, serialization_format="pickle", **described(classifier, table[0]))
    path = shelf.files(version) / "MLmodel"
    path.write_text(path.read_text().replace("serialization_format: pickle", "serialization_format: skops"))

    with pytest.raises(Unusable, match="fraud version 1 does not load here"):
        load(shelf, version)


def test_a_file_outside_the_models_folder_is_not_read(shelf: Any, champion: str) -> None:
    path = shelf.files(champion) / "MLmodel"
    path.write_text(path.read_text().replace("pickled_model: model.skops", "pickled_model: ../../../x.skops"))

    with pytest.raises(Unusable, match="which is not in its folder"):
        load(shelf, champion)


def test_a_model_that_cannot_predict_is_refused(shelf: Any, table: Any) -> None:
    from lockgate.registry.client import quiet_import

    model = StandardScaler().fit(table[0])
    signature = quiet_import("mlflow.models").infer_signature(table[0], model.transform(table[0]))
    version = shelf.log("sklearn", model, signature=signature, input_example=table[0][:5])

    with pytest.raises(Unusable, match="is a StandardScaler, which cannot predict"):
        load(shelf, version)


def test_a_model_that_answers_fewer_rows_than_it_got_is_refused(shelf: Any, champion: str) -> None:
    import dataclasses

    source = load(shelf, champion)
    short = dataclasses.replace(source, run=lambda x: {"label": source.run(x)["label"][:1]})

    with pytest.raises(Unusable, match=r"for 2 rows it gives output 'label' the shape \[1\]"):
        check_batches(short)
