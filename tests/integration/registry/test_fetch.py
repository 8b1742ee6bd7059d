from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lockgate.registry.cache import digest_of
from lockgate.registry.errors import Unusable
from lockgate.registry.naming import input_names


def fetch(shelf: Any, version: str, cache: str = "cache") -> Any:
    registry = shelf.registry(cache)
    return registry.fetch(registry.resolve("fraud", version))


def test_a_fetched_model_has_its_files_signature_and_example(shelf: Any, champion: str, table: Any) -> None:
    fetched = fetch(shelf, champion)

    assert fetched.flavour == "sklearn"
    assert (fetched.path / "model.skops").is_file()
    assert fetched.digest == digest_of(fetched.path) == fetched.path.name
    assert input_names(fetched) == ("amount", "age", "hour")
    assert fetched.signature["outputs"][0]["type"] == "tensor"
    for name, values in fetched.example.items():
        np.testing.assert_array_equal(values, table[0][name][:5])


def test_the_second_fetch_needs_no_source(shelf: Any, champion: str) -> None:
    first = fetch(shelf, champion)
    shutil.rmtree(shelf.files(champion))

    again = fetch(shelf, champion)

    assert (again.path, again.digest) == (first.path, first.digest)


def test_a_harmed_cache_is_fetched_again(shelf: Any, champion: str) -> None:
    first = fetch(shelf, champion)
    (first.path / "model.skops").write_bytes(b"rubbish")

    again = fetch(shelf, champion)

    assert (again.path, again.digest) == (first.path, first.digest)
    assert digest_of(again.path) == first.digest


def test_a_file_too_many_is_harm_as_well(shelf: Any, champion: str) -> None:
    first = fetch(shelf, champion)
    (first.path / "extra.py").write_text("boo")

    assert not (fetch(shelf, champion).path / "extra.py").exists()


def test_a_harmed_cache_without_a_source_is_not_served(shelf: Any, champion: str) -> None:
    first = fetch(shelf, champion)
    (first.path / "model.skops").write_bytes(b"rubbish")
    shutil.rmtree(shelf.files(champion))

    with pytest.raises(Unusable, match=rf"The files of fraud version {champion} are not at .*Log the model again"):
        fetch(shelf, champion)


def test_files_that_changed_since_the_first_fetch_are_refused(shelf: Any, champion: str) -> None:
    first = fetch(shelf, champion)
    (first.path / "MLmodel").unlink()
    (shelf.files(champion) / "requirements.txt").write_text("evil\n")

    with pytest.raises(Unusable, match="changed after they were first fetched") as refused:
        fetch(shelf, champion)

    pointer = Path(str(refused.value).partition("delete ")[2].partition(" and repeat")[0])
    pointer.unlink()
    assert fetch(shelf, champion).digest != first.digest


def test_what_a_killed_download_left_is_swept_away(shelf: Any, champion: str) -> None:
    fetched = fetch(shelf, champion)
    key = next((shelf.folder / "cache" / "versions").iterdir()).name
    shutil.rmtree(shelf.folder / "cache" / "versions")
    shutil.rmtree(fetched.path)
    half = shelf.folder / "cache" / "incoming" / key
    half.mkdir(parents=True)
    (half / "model.skops").write_bytes(b"half")

    assert fetch(shelf, champion).digest == fetched.digest
    assert not half.exists()


def test_concurrent_callers_share_one_download(shelf: Any, champion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registries = [shelf.registry() for _ in range(8)]
    version = registries[0].resolve("fraud", champion)
    downloads: list[Path] = []
    real = type(registries[0])._download

    def counted(self: Any, version: Any, into: Path) -> Path:
        downloads.append(into)
        return real(self, version, into)

    monkeypatch.setattr(type(registries[0]), "_download", counted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda r: r.fetch(version), registries))

    assert len(downloads) == 1
    assert len({f.path for f in found}) == 1


def test_two_versions_with_the_same_files_share_them(shelf: Any, champion: str) -> None:
    source = shelf.files(champion)
    twin = shelf.client.create_model_version("fraud", source=str(source)).version

    assert fetch(shelf, champion).path == fetch(shelf, str(twin)).path


def test_without_a_signature_the_sentence_says_how_to_log(shelf: Any, classifier: Any) -> None:
    version = shelf.log("sklearn", classifier, signature=False)

    with pytest.raises(Unusable, match=r"fraud version 1 cannot be rolled out: it has no signature.*infer_signature"):
        fetch(shelf, version)


def test_without_an_example_the_sentence_says_how_to_log(
    shelf: Any, classifier: Any, table: Any, described: Any
) -> None:
    options = described(classifier, table[0])
    version = shelf.log("sklearn", classifier, signature=options["signature"])

    with pytest.raises(Unusable, match=r"it has no input example.*mlflow\.sklearn\.log_model.*input_example=X\[:5\]"):
        fetch(shelf, version)


def test_another_flavour_is_named(shelf: Any, champion: str) -> None:
    path = shelf.files(champion) / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["flavors"]["catboost"] = document["flavors"].pop("sklearn")
    path.write_text(yaml.safe_dump(document))

    with pytest.raises(Unusable, match=r"it was logged as catboost; this needs pytorch, .* lightgbm or pyfunc"):
        fetch(shelf, champion)


def test_a_folder_without_an_mlmodel_is_refused(shelf: Any) -> None:
    (shelf.folder / "plain").mkdir()
    (shelf.folder / "plain" / "weights.bin").write_bytes(b"1")
    shelf.client.create_registered_model("fraud")
    shelf.client.create_model_version("fraud", source=str(shelf.folder / "plain"))

    with pytest.raises(Unusable, match="no readable MLmodel file"):
        fetch(shelf, "1")


def test_an_example_from_outside_of_its_folder_is_not_read(shelf: Any, champion: str) -> None:
    """It goes to the version's page as evidence, for everybody to read."""
    file = shelf.files(champion) / "MLmodel"
    document = yaml.safe_load(file.read_text())
    document["saved_input_example_info"]["artifact_path"] = "../../../../secret.json"
    file.write_text(yaml.safe_dump(document))

    with pytest.raises(Unusable, match=r"names the input example '\.\./.*which is not in its folder"):
        fetch(shelf, champion)
