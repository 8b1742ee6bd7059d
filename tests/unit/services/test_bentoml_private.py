"""The one private API of BentoML that the fast lane stands on. Fails where a new version moves it."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path


def tree(module: str) -> ast.Module:
    """Parsed, not imported: importing BentoML takes seconds and warns."""
    package, _, rest = module.partition(".")
    root = find_spec(package)
    assert root is not None
    assert root.submodule_search_locations
    path = Path(root.submodule_search_locations[0], *rest.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_worker_serves_what_to_asgi_returns() -> None:
    calls = [
        node
        for node in ast.walk(tree("_bentoml_impl.worker.service"))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "to_asgi"
    ]
    assert [k.arg for call in calls for k in call.value.keywords] == ["is_main"]  # type: ignore[attr-defined]
    served = [
        keyword.value.id
        for node in ast.walk(tree("_bentoml_impl.worker.service"))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "app" and isinstance(keyword.value, ast.Name)
    ]
    assert served == [call.targets[0].id for call in calls]  # type: ignore[attr-defined]


def test_the_worker_leaves_the_protocol_to_uvicorn() -> None:
    """`wire.install` puts ours where uvicorn looks for `auto`, before `to_asgi` returns."""
    (made,) = (
        node
        for node in ast.walk(tree("_bentoml_impl.worker.service"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Config"
    )
    assert "app" in {keyword.arg for keyword in made.keywords}
    assert "http" not in {keyword.arg for keyword in made.keywords}


def test_the_service_decorator_takes_a_class_of_ours() -> None:
    factory = tree("_bentoml_sdk.service.factory")
    service = next(n for n in factory.body if isinstance(n, ast.ClassDef) and n.name == "Service")
    methods = {n.name for n in service.body if isinstance(n, ast.FunctionDef)}
    assert "to_asgi" in methods
    options = {
        a.arg for n in factory.body if isinstance(n, ast.FunctionDef) and n.name == "service" for a in n.args.kwonlyargs
    }
    assert "service_class" in options
