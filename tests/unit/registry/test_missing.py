from __future__ import annotations

from lockgate.registry.missing import no_such_alias, no_such_model, no_such_version


def test_long_lists_are_cut() -> None:
    sentence = no_such_model("x", [f"model-{i:02}" for i in range(11)], "http://h")

    assert sentence.endswith("Registered there: " + ", ".join(f"model-{i:02}" for i in range(8)) + " and 3 more.")
    assert "Did you mean" not in sentence


def test_a_model_without_aliases() -> None:
    assert no_such_alias("fraud", "@champion", {"2": (), "1": ()}) == (
        "Registered model 'fraud' has no alias @champion (it has none). To set it on the newest version, use "
        "'Add alias' on its page, or mlflow.MlflowClient().set_registered_model_alias('fraud', 'champion', '2')."
    )


def test_a_model_without_versions() -> None:
    assert no_such_version("fraud", "3", {}) == (
        "Registered model 'fraud' has no version 3 (it has none yet). Name one of them, or an alias like @challenger."
    )
