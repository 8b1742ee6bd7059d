from __future__ import annotations

import warnings
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from lockgate.registry.client import quiet_import
from lockgate.registry.describe import describe
from lockgate.registry.errors import Untrusted, Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust

QUIET = {"n_estimators": 4, "verbose": -1}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """`age` is missing in some rows."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["amount", "age", "hour"])
    frame.loc[::4, "age"] = np.nan
    return frame


@pytest.fixture(scope="module")
def kinds(rows: pd.DataFrame) -> Any:
    """A label of three kinds."""
    return np.digitize(rows["amount"], [-0.5, 0.5])


@pytest.fixture(scope="module")
def yes(kinds: Any) -> Any:
    return (kinds > 0).astype(int)


def signed(rows: pd.DataFrame, answer: Any, **options: Any) -> dict[str, Any]:
    infer_signature = quiet_import("mlflow.models").infer_signature
    return {"input_example": rows[:5], "signature": infer_signature(rows, answer), **options}


def load(shelf: Any, version: str, trust: Trust | None = None) -> Any:
    registry = shelf.registry()
    return load_source(registry.fetch(registry.resolve("fraud", version)), trust or Trust())


def columns(rows: pd.DataFrame) -> dict[str, Any]:
    return {name: rows[name].to_numpy() for name in rows}


@pytest.mark.parametrize("stored", ["ubj", "json", "xgb"])
def test_an_xgboost_classifier_answers_labels_and_probabilities(
    shelf: Any, rows: Any, kinds: Any, described: Any, stored: str
) -> None:
    model = xgb.XGBClassifier(n_estimators=4).fit(rows, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of writing xgb
        version = shelf.log("xgboost", model, model_format=stored, **described(model, rows))
    source = load(shelf, version)

    answer = source.run(columns(rows))
    assert (source.storage, source.file) == ("json" if stored == "json" else "ubj", f"model.{stored}")
    np.testing.assert_array_equal(answer["label"], model.predict(rows))
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(rows), rtol=1e-6)
    check_batches(source)


def test_an_xgboost_regressor_and_a_ranker_answer_a_prediction(shelf: Any, rows: Any, yes: Any, described: Any) -> None:
    regressor = xgb.XGBRegressor(n_estimators=4).fit(rows, rows["amount"])
    ranker = xgb.XGBRanker(n_estimators=4).fit(rows, yes, qid=np.repeat(np.arange(12), 10))
    for model in (regressor, ranker):
        answer = load(shelf, shelf.log("xgboost", model, **described(model, rows))).run(columns(rows))
        assert list(answer) == ["prediction"]
        np.testing.assert_allclose(answer["prediction"], model.predict(rows), rtol=1e-6)


def test_a_booster_answers_its_own_scores(shelf: Any, rows: Any, yes: Any, kinds: Any) -> None:
    for objective, labels in (({"objective": "binary:logistic"}, yes), ({"objective": "multi:softprob"}, kinds)):
        options = objective | ({"num_class": 3} if labels is kinds else {})
        model = xgb.train(options, xgb.DMatrix(rows, labels), 4)
        want = model.predict(xgb.DMatrix(rows))
        source = load(shelf, shelf.log("xgboost", model, **signed(rows, want)))
        np.testing.assert_allclose(source.run(columns(rows))["prediction"], want, rtol=1e-6)
    found = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(rows, yes), 4)
    source = load(shelf, shelf.log("lightgbm", found, **signed(rows, found.predict(rows))))
    assert source.storage == "text"
    np.testing.assert_allclose(source.run(columns(rows))["prediction"], found.predict(rows))


@pytest.mark.parametrize("stored", ["skops", "cloudpickle"])
def test_a_lightgbm_classifier_keeps_its_labels_names(
    shelf: Any, rows: Any, kinds: Any, described: Any, stored: str
) -> None:
    model = lgb.LGBMClassifier(**QUIET).fit(rows, np.array(["low", "mid", "high"])[kinds])
    needs = Trust(pickle=stored != "skops")
    version = shelf.log("lightgbm", model, serialization_format=stored, **described(model, rows))
    assert describe(shelf.registry(), "fraud", version).needs == needs
    if needs.pickle:
        with pytest.raises(Untrusted, match=r"mlflow\.lightgbm\.log_model\(\.\.\., serialization_format='skops'\)"):
            load(shelf, version)

    source = load(shelf, version, needs)
    answer = source.run(columns(rows))
    assert source.storage == stored
    np.testing.assert_array_equal(answer["label"], model.predict(rows))
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(rows))
    check_batches(source)


def test_missing_values_reach_the_trees(shelf: Any, rows: Any, described: Any) -> None:
    """A column that is optional in the signature may be left out, and then is missing in every row."""
    target = np.where(rows["age"].isna(), 5.0, rows["amount"])
    for flavour, model in (("xgboost", xgb.XGBRegressor(n_estimators=4)), ("lightgbm", lgb.LGBMRegressor(**QUIET))):
        model.fit(rows, target)
        source = load(shelf, shelf.log(flavour, model, **described(model, rows)))
        without = {name: value for name, value in columns(rows).items() if name != "age"}
        want = model.predict(rows.assign(age=np.nan))
        np.testing.assert_allclose(source.run(without)["prediction"], want, rtol=1e-6)
        assert not np.allclose(want, source.run(columns(rows.fillna(0.0)))["prediction"])


@pytest.mark.parametrize("flavour", ["xgboost", "lightgbm"])
def test_columns_are_told_apart_by_name(shelf: Any, rows: Any, flavour: str) -> None:
    model = xgb.XGBRegressor(n_estimators=4) if flavour == "xgboost" else lgb.LGBMRegressor(**QUIET)
    model.fit(rows, rows["amount"])
    turned = rows[["hour", "amount", "age"]]
    source = load(shelf, shelf.log(flavour, model, **signed(turned, model.predict(rows))))

    np.testing.assert_allclose(source.run(columns(turned))["prediction"], model.predict(rows), rtol=1e-6)


def test_a_matrix_stays_a_matrix(shelf: Any, rows: Any, described: Any) -> None:
    values = rows.to_numpy()
    model = xgb.XGBRegressor(n_estimators=4).fit(values, values[:, 0])
    source = load(shelf, shelf.log("xgboost", model, **described(model, values)))

    np.testing.assert_allclose(source.run({"input": values})["prediction"], model.predict(values), rtol=1e-6)


def test_a_class_that_is_not_the_librarys_own_is_not_imported(shelf: Any, rows: Any, described: Any) -> None:
    model = xgb.XGBRegressor(n_estimators=4).fit(rows, rows["amount"])
    version = shelf.log("xgboost", model, **described(model, rows))
    path = shelf.files(version) / "MLmodel"
    path.write_text(path.read_text().replace("xgboost.sklearn.XGBRegressor", "antigravity.XGBRegressor"))

    with pytest.raises(Unusable, match=r"is a antigravity\.XGBRegressor, not one of xgboost's own classes"):
        load(shelf, version)


def test_categories_are_refused(shelf: Any, rows: Any) -> None:
    told = rows.assign(hour=pd.Categorical(np.where(rows["hour"] > 0, "am", "pm")))
    for flavour, model in (
        ("xgboost", xgb.XGBRegressor(n_estimators=2, enable_categorical=True)),
        ("lightgbm", lgb.LGBMRegressor(**QUIET)),
    ):
        model.fit(told, rows["amount"])
        version = shelf.log(flavour, model, **signed(told, model.predict(told)))
        with pytest.raises(Unusable, match="was fitted on pandas categories"):
            load(shelf, version)


def test_a_signature_that_the_trees_do_not_fit_is_refused(shelf: Any, rows: Any) -> None:
    model = xgb.XGBRegressor(n_estimators=2).fit(rows, rows["amount"])
    fewer = shelf.log("xgboost", model, **signed(rows[["amount", "age"]], rows["amount"]))
    with pytest.raises(Unusable, match="has 2 columns, its trees were grown on 3"):
        load(shelf, fewer)
    text = shelf.log("xgboost", model, **signed(rows.assign(hour="noon"), rows["amount"]))
    with pytest.raises(Unusable, match="takes numbers, but the signature has hour as text or dates"):
        load(shelf, text)
