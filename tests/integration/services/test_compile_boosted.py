"""XGBoost, LightGBM and pyfunc models as MLflow writes them, compiled and held against their source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from lockgate.registry.cache import Cached, digest_of
from lockgate.registry.checked import checked
from lockgate.registry.client import quiet_import
from lockgate.registry.spec import Trust
from lockgate.registry.words import ModelVersion
from lockgate.services.compile import engines
from lockgate.services.compile.errors import Unsupported
from lockgate.services.compile.targets import compiler, eager_boosted, eager_pyfunc
from lockgate.services.compile.words import Arrays, Job, Model
from lockgate.services.opened import opened

ROWS = 400
TREES = {"n_estimators": 25, "max_depth": 4}
MORE = {"n_estimators": 25, "verbose": -1}
SOURCE = Path(__file__).parents[3] / "src"


def made_table(seed: int) -> pd.DataFrame:
    """Doubles that 32 bits do not hold, whole numbers, tenths, and missing values in one column."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 4)), columns=["amount", "age", "hour", "tenth"])
    frame["hour"] = rng.integers(0, 24, ROWS).astype(float)
    frame["tenth"] = frame["tenth"].round(1)
    frame.loc[rng.random(ROWS) < 0.2, "age"] = np.nan
    return frame


X, OTHER = made_table(1), made_table(2)
VALUE = np.where(X["age"].isna(), 7.0, X["amount"] * 3 + X["hour"])
KIND = np.digitize(VALUE, [4.0, 12.0])
YES = (VALUE > 8).astype(int)
GROUPS = np.repeat(np.arange(ROWS // 20), 20)


def booster(objective: str, target: Any, **options: Any) -> Any:
    return xgb.train({"objective": objective, "max_depth": 4} | options, xgb.DMatrix(X, target), 25)


def lightgbm_booster(objective: str, target: Any, **options: Any) -> Any:
    return lgb.train({"objective": objective, "verbose": -1} | options, lgb.Dataset(X, target), 25)


def stopped_early() -> Any:
    model = xgb.XGBRegressor(n_estimators=300, learning_rate=0.6, early_stopping_rounds=2)
    return model.fit(X[:300], VALUE[:300], eval_set=[(X[300:], VALUE[300:])], verbose=False)


MODELS: dict[str, Callable[[], Any]] = {
    "xgboost: two classes": lambda: xgb.XGBClassifier(**TREES).fit(X, YES),
    "xgboost: three classes": lambda: xgb.XGBClassifier(**TREES).fit(X, KIND),
    "xgboost: softmax": lambda: xgb.XGBClassifier(objective="multi:softmax", **TREES).fit(X, KIND),
    "xgboost: stopped early": stopped_early,
    "xgboost: counts": lambda: xgb.XGBRegressor(objective="count:poisson", **TREES).fit(X, VALUE + 20),
    "xgboost: ranker": lambda: xgb.XGBRanker(**TREES).fit(X, YES, qid=GROUPS),
    "xgboost: booster of two classes": lambda: booster("binary:logistic", YES),
    "xgboost: booster of three classes": lambda: booster("multi:softprob", KIND, num_class=3),
    "xgboost: booster that answers labels": lambda: booster("multi:softmax", KIND, num_class=3),
    "xgboost: booster of values": lambda: booster("reg:squarederror", VALUE),
    "lightgbm: two classes": lambda: lgb.LGBMClassifier(**MORE).fit(X, YES),
    "lightgbm: named classes": lambda: lgb.LGBMClassifier(**MORE).fit(X, np.array(["low", "mid", "high"])[KIND]),
    "lightgbm: values": lambda: lgb.LGBMRegressor(**MORE).fit(X, VALUE),
    "lightgbm: ranker": lambda: lgb.LGBMRanker(**MORE).fit(X, YES, group=[20] * (ROWS // 20)),
    "lightgbm: booster of two classes": lambda: lightgbm_booster("binary", YES),
    "lightgbm: booster of three classes": lambda: lightgbm_booster("multiclass", KIND, num_class=3),
}
EAGER_ONLY = {
    "xgboost: linear": (lambda: xgb.XGBRegressor(booster="gblinear").fit(X.fillna(0.0), VALUE), "knows no gblinear"),
    "xgboost: dart": (lambda: xgb.XGBRegressor(booster="dart", rate_drop=0.3, **TREES).fit(X, VALUE), "knows no dart"),
    "xgboost: two values": (lambda: xgb.XGBRegressor(**TREES).fit(X, np.stack([VALUE, YES], 1)), "several targets"),
    "xgboost: logits": (lambda: booster("binary:logitraw", YES), "objective binary:logitraw"),
    "lightgbm: forest": (
        lambda: lightgbm_booster("binary", YES, boosting="rf", bagging_freq=1, bagging_fraction=0.6),
        "random forests",
    ),
    "lightgbm: zeros are missing": (
        lambda: lightgbm_booster("regression", VALUE, zero_as_missing=True),
        "zero_as_miss",
    ),
    "lightgbm: linear trees": (lambda: lightgbm_booster("regression", VALUE, linear_tree=True), "linear trees"),
    "lightgbm: one against all": (lambda: lightgbm_booster("multiclassova", KIND, num_class=3), "multiclassova"),
}


def save(flavour: str, native: Any, folder: Path, rows: Any = X, **options: Any) -> None:
    """As MLflow writes it, with a signature and an example."""
    signature = quiet_import("mlflow.models").infer_signature(rows, np.zeros(len(rows)), options.pop("params", None))
    module = quiet_import(f"mlflow.{flavour}")
    given = {"python_model": native} if flavour == "pyfunc" else {f"{flavour[0]}gb_model": native}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"pip_requirements": ["numpy"]} | options
        module.save_model(**given, path=str(folder), signature=signature, input_example=rows[:8], **options)


def read(folder: Path) -> Model:
    version = ModelVersion("fraud-detector", "3", "test")
    return opened(checked(version, Cached(folder, digest_of(folder))), Trust(pickle=True))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of these tiny models wait for each other, for seconds where the machine is busy."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Each of the models fitted and written once."""
    folder = tmp_path_factory.mktemp("boosted")
    places = {kind: folder / str(i) for i, kind in enumerate([*MODELS, *EAGER_ONLY])}

    def model(kind: str) -> Model:
        if not places[kind].exists():
            make = MODELS[kind] if kind in MODELS else EAGER_ONLY[kind][0]
            # MLflow's own list of what skops may hold lacks LightGBM's ranker.
            more = {"skops_trusted_types": ["lightgbm.sklearn.LGBMRanker"]} if kind == "lightgbm: ranker" else {}
            save(kind.partition(":")[0], make(), places[kind], **more)
        return read(places[kind])

    return model


def compiled(target: str, model: Model, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The artifact, written and read as the search does."""
    into, shared = folder / target, folder / "shared"
    for made in (into, shared):
        made.mkdir(exist_ok=True)
    job = Job("fp32", "cpu", 64, 1, model.about.example, shared)
    refusal = compiler(target).supports(model.about, "fp32", "cpu")
    assert refusal is None
    manifest = compiler(target).compile(model, job, into) | {"device": "cpu"}
    return into, json.loads(json.dumps(manifest))


def arrays(frame: pd.DataFrame) -> Arrays:
    return {name: frame[name].to_numpy() for name in frame}


def first(x: Arrays, n: int) -> Arrays:
    return {name: value[:n] for name, value in x.items()}


def same(want: Arrays, found: Arrays, rtol: float, atol: float) -> None:
    assert list(found) == list(want)
    for name, value in want.items():
        assert found[name].shape == value.shape
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, rtol=rtol, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("kind", [*MODELS, *EAGER_ONLY])
def test_the_librarys_own_engine_answers_as_the_source(logged: Any, tmp_path: Path, kind: str) -> None:
    model = logged(kind)
    folder, manifest = compiled("eager", model, tmp_path)
    engine = engines.load(folder, manifest, 1)

    x = arrays(OTHER)
    for n in (1, 2, ROWS):
        same(model.run(first(x, n)), engine.run(first(x, n)), 1e-5, 1e-6)
    turned = {name: np.repeat(value, 2)[::2] for name, value in x.items()}
    same(model.run(x), engine.run(turned), 1e-5, 1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_onnx_runtime_answers_as_the_source(logged: Any, tmp_path: Path, kind: str) -> None:
    """Missing values too, also in columns that had none in training."""
    model = logged(kind)
    folder, manifest = compiled("onnxruntime", model, tmp_path)
    engine = engines.load(folder, manifest, 1)

    holes = OTHER.mask(np.random.default_rng(3).random(OTHER.shape) < 0.1)
    for x in (arrays(OTHER), arrays(holes), first(arrays(OTHER), 1)):
        same(model.run(x), engine.run(x), 1e-4, 1e-5)


@pytest.mark.parametrize("kind", EAGER_ONLY)
def test_what_onnxmltools_would_get_wrong_is_refused(logged: Any, tmp_path: Path, kind: str) -> None:
    with pytest.raises(Unsupported, match=EAGER_ONLY[kind][1]):
        compiled("onnxruntime", logged(kind), tmp_path)


def test_compiling_leaves_the_source_as_it_was(logged: Any, tmp_path: Path) -> None:
    for kind in ("xgboost: softmax", "xgboost: stopped early"):
        model = logged(kind)
        before = model.run(arrays(OTHER))
        for target in ("eager", "onnxruntime"):
            compiled(target, model, tmp_path)
        same(before, model.run(arrays(OTHER)), 0, 0)


@pytest.mark.parametrize("target", ["eager", "onnxruntime"])
def test_columns_are_told_apart_by_name(tmp_path: Path, target: str) -> None:
    native = lgb.LGBMRegressor(**MORE).fit(X, VALUE)
    save("lightgbm", native, tmp_path / "model", X[["tenth", "hour", "amount", "age"]])
    model = read(tmp_path / "model")
    folder, manifest = compiled(target, model, tmp_path)

    found = engines.load(folder, manifest, 1).run(arrays(OTHER))
    np.testing.assert_allclose(found["prediction"], native.predict(OTHER), rtol=1e-4)


@pytest.mark.parametrize("target", ["eager", "onnxruntime"])
def test_a_matrix_stays_a_matrix(tmp_path: Path, target: str) -> None:
    values = X.to_numpy()
    for flavour, native in (("xgboost", xgb.XGBRegressor(**TREES)), ("lightgbm", lgb.LGBMRegressor(**MORE))):
        folder = tmp_path / flavour
        folder.mkdir()
        save(flavour, native.fit(values, VALUE), folder / "model", values)
        model = read(folder / "model")
        into, manifest = compiled(target, model, folder)
        found = engines.load(into, manifest, 1).run({"input": OTHER.to_numpy()})
        same(model.run({"input": OTHER.to_numpy()}), found, 1e-4, 1e-5)


def test_threads_are_the_engines(logged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {kind: logged(kind) for kind in ("lightgbm: values", "xgboost: counts")}  # with the libraries as they are
    asked: list[Any] = []
    lightgbm_predict, xgboost_booster = lgb.Booster.predict, xgb.Booster.__init__
    monkeypatch.setattr(lgb.Booster, "predict", lambda s, d, **o: (asked.append(o), lightgbm_predict(s, d, **o))[1])
    monkeypatch.setattr(
        xgb.Booster, "__init__", lambda s, p=None, **o: (asked.append(p), xgboost_booster(s, p, **o))[1]
    )
    for kind, want in (("lightgbm: values", {"num_threads": 3}), ("xgboost: counts", {"nthread": 3})):
        folder, manifest = compiled("eager", made[kind], tmp_path)
        asked.clear()
        engines.load(folder, manifest, 3).run(arrays(OTHER))
        assert want in asked


def test_a_replica_loads_the_one_library(logged: Any, tmp_path: Path) -> None:
    folder, manifest = compiled("eager", logged("xgboost: three classes"), tmp_path)
    assert [name.partition("-")[0] for name in manifest["packages"]] == ["xgboost"]
    loaded = replica(folder, manifest, first(arrays(OTHER), 2))["modules"]

    assert "xgboost" in loaded
    assert not {"lightgbm", "mlflow", "onnxruntime", "torch", "tensorflow"} & set(loaded)


def test_gpus_and_other_precisions_are_refused_in_a_line(logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about = logged("xgboost: counts").about
    leaf = replace(about, flavour="lightgbm")
    code = replace(about, flavour="pyfunc")
    monkeypatch.setattr(eager_boosted, "gpus", lambda: ())
    assert eager_boosted.refuses(about, "fp32", "cuda") == "no NVIDIA GPU here"
    monkeypatch.setattr(eager_boosted, "gpus", lambda: ("one",))
    monkeypatch.setattr(eager_boosted.source, "versions", lambda _: {"xgboost-cpu": "3.2.0"})
    assert eager_boosted.refuses(about, "fp32", "cuda") == "xgboost-cpu is built without CUDA; install xgboost"
    monkeypatch.setattr(eager_boosted.source, "versions", lambda _: {"xgboost": "3.2.0"})
    assert eager_boosted.refuses(about, "fp32", "cuda") is None
    assert eager_boosted.refuses(leaf, "fp32", "cuda") == "lightgbm predicts on the CPU only"
    for refused in (eager_boosted.refuses(about, "int8", "cpu"), eager_pyfunc.refuses(code, "bf16", "cpu")):
        assert refused
    assert compiler("onnxruntime").supports(code, "fp32", "cpu") == "there is no way from pyfunc to ONNX"


def test_xgboost_without_the_gpu_that_it_was_told_to_use_is_an_error(logged: Any, tmp_path: Path) -> None:
    folder, manifest = compiled("eager", logged("xgboost: counts"), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="XGBoost fell back from cuda to cpu"):
            engines.load(folder, manifest | {"device": "cuda"}, 1)


def replica(folder: Path, manifest: dict[str, Any], x: Arrays) -> dict[str, Any]:
    """What a process of its own answers, that knows of our code only what is in a bento; and what it imported."""
    np.savez(folder / "x.npz", **x)
    program = f"""
import json, sys
import numpy as np
sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path
from lockgate.services.compile import engines
folder = Path({str(folder)!r})
engine = engines.load(folder, json.loads({json.dumps(manifest)!r}), 1)
found = engine.run(dict(np.load(folder / "x.npz", allow_pickle=False)))
answer = {{k: v.tolist() for k, v in found.items()}}
print(json.dumps({{"answer": answer, "modules": sorted({{m.partition(".")[0] for m in sys.modules}})}}))
"""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


CODE = """
import json
from pathlib import Path

import mlflow
import pandas as pd
from helper_of_the_author import SHIFT


class Shifted(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.weight = json.loads(Path(context.artifacts["weights"]).read_text())

    def predict(self, context, model_input: pd.DataFrame, params=None):
        total = model_input["amount"] * self.weight + SHIFT * params["scale"]
        return pd.DataFrame({"total": total, "verdict": ["high" if t > 2 else "low" for t in total]})
"""


def test_a_pyfunc_travels_with_its_code_artifacts_and_parameters(tmp_path: Path) -> None:
    """Pickled by reference to a module of `code_paths`: a replica has it from the artifact or not at all."""
    author = tmp_path / "author"
    author.mkdir()
    (author / "helper_of_the_author.py").write_text("SHIFT = 0.5\n")
    (author / "shifted_of_the_author.py").write_text(CODE)
    (tmp_path / "weights.json").write_text("3.0")
    sys.path.insert(0, str(author))
    quiet_import("mlflow.pyfunc")  # which the author's code imports, and which warns about its own type hints
    try:
        import shifted_of_the_author  # type: ignore[import-not-found]

        save(
            "pyfunc",
            shifted_of_the_author.Shifted(),
            tmp_path / "model",
            artifacts={"weights": str(tmp_path / "weights.json")},
            code_paths=[str(path) for path in sorted(author.glob("*.py"))],
            pip_requirements=["numpy", "not-here==1.2.3", "-c constraints.txt", "nor-this"],
            params={"scale": 4.0},
        )
        model = read(tmp_path / "model")
        want = model.run(first(arrays(OTHER), 5))
    finally:
        sys.path.remove(str(author))
    np.testing.assert_allclose(want["total"], OTHER["amount"][:5] * 3 + 2)
    folder, manifest = compiled("eager", model, tmp_path)
    shutil.rmtree(author)
    shutil.rmtree(tmp_path / "model")
    assert manifest["packages"]["not-here"] == "1.2.3"
    assert {"mlflow", "numpy", "pandas"} <= set(manifest["packages"])
    found = replica(folder, manifest, first(arrays(OTHER), 5))["answer"]
    np.testing.assert_allclose(found["total"], want["total"])
    assert found["verdict"] == list(want["verdict"])


def test_a_pyfunc_of_tensors_is_given_tensors(tmp_path: Path) -> None:
    def total(model_input: np.ndarray) -> Any:  # type: ignore[type-arg]  # the hint that MLflow knows
        return list(model_input.sum(axis=1))

    save("pyfunc", total, tmp_path / "model", X.fillna(0.0).to_numpy())
    model = read(tmp_path / "model")
    folder, manifest = compiled("eager", model, tmp_path)
    x = {"input": OTHER.fillna(0.0).to_numpy()}
    same(model.run(x), engines.load(folder, manifest).run(x), 0, 0)


def test_a_model_from_code_runs_from_its_code(tmp_path: Path) -> None:
    code = tmp_path / "half.py"
    code.write_text(
        "import mlflow, pandas as pd\n"
        "class Half(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input: pd.DataFrame):\n"
        "        return model_input['amount'] / 2\n"
        "mlflow.models.set_model(Half())\n"
    )
    save("pyfunc", str(code), tmp_path / "model")
    model = read(tmp_path / "model")
    folder, manifest = compiled("eager", model, tmp_path)
    same(model.run(arrays(OTHER)), engines.load(folder, manifest).run(arrays(OTHER)), 0, 0)
