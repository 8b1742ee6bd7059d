"""What tests of several folders share. Tests are no package: what is no fixture is loaded by its path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def from_file() -> Callable[[str], ModuleType]:
    """`from_file("contract/fakes.py")`: a module that lies among the tests, loaded once."""

    @cache
    def load(name: str) -> ModuleType:
        module_name = "tests_" + name.removesuffix(".py").replace("/", "_")
        spec = importlib.util.spec_from_file_location(module_name, Path(__file__).parent / name)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def fake_registry(from_file: Callable[[str], ModuleType]) -> Any:
    """The class of registries in memory that pass MLflow's contract tests."""
    return from_file("contract/fake_registry.py").FakeRegistry
