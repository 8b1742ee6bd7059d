from __future__ import annotations

import subprocess
import sys


def test_no_module_of_the_registry_imports_a_vendor() -> None:
    program = (
        "import importlib, pkgutil, sys, lockgate.registry as r\n"
        "for m in pkgutil.iter_modules(r.__path__): importlib.import_module(f'lockgate.registry.{m.name}')\n"
        "vendors = ('mlflow', 'torch', 'sklearn', 'skops', 'onnx', 'onnxruntime', 'pandas')\n"
        "print([m for m in vendors if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "[]\n"
