"""Compilers that do one thing wrong each, in the process that compiles or in the one that loads."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lockgate.services.compile.errors import Unsupported
from lockgate.services.compile.ports import Compiler
from lockgate.services.compile.words import About, Device, Job, Model, Precision

from .models import note


class Toy(Compiler):
    """`settings` go into the manifest and tell the engine what to do: see `engine`."""

    target = "toy"
    settings: ClassVar[Mapping[str, Any]] = {}

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG002
        return None

    def environment(self, about: About) -> Mapping[str, str]:  # noqa: ARG002
        return {"TOYS_TOLD": "yes"}

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        note(f"compiled {type(self).__name__} {job.precision}")
        self.suffer()
        np.save(into / "weights.npy", self.weights(model.native))
        manifest = {"engine": "toys.engine", "file": "weights.npy", "feeds": [], "outputs": [], "packages": {}}
        return {"portable": True, **manifest, **self.settings}

    def weights(self, native: Any) -> Any:
        return native

    def suffer(self) -> None:
        """What goes wrong while compiling."""


class Fast(Toy):
    """As fast as numpy."""


class Slow(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.004}


class Medium(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.002}


class Heavy(Fast):
    heavy = True
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.001}


class Twin(Fast):
    heavy = True
    alike = "fast"


class Varied(Toy):
    """Four times as fast in int8."""

    delays: ClassVar[Mapping[str, float]] = {"fp32": 0.004, "int8": 0.001}

    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        return {**super().compile(model, job, into), "delay": self.delays[job.precision]}


class HeavyVaried(Varied):
    heavy = True
    delays: ClassVar[Mapping[str, float]] = {"fp32": 0.006, "int8": 0.0015}


class MachineCode(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"portable": False}


class Large(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.001, "megabytes": 64}

    def weights(self, native: Any) -> Any:
        return np.concatenate([native, np.zeros((100_000, 2))])


class LateLoader(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.002, "load": "sleep"}


class Skipped(Toy):
    def supports(self, about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG002
        return f"there is no way from {about.flavour} to skipped"


class Refusing(Toy):
    def suffer(self) -> None:
        raise Unsupported("a linear model\nhas nothing to skip")


class Raising(Toy):
    def suffer(self) -> None:
        raise RuntimeError("no kernel for op 17\nand a long story")


class Strange(Toy):
    """Raises what only the compiler's own library can read."""

    def suffer(self) -> None:
        import colorsys
        import types

        module = types.ModuleType("colorsys_private")
        module.Odd = type("Odd", (Exception,), {"__module__": "colorsys_private"})  # type: ignore[attr-defined]
        sys.modules["colorsys_private"] = module
        raise module.Odd(f"only {colorsys.__name__} knows")


class Confused(Toy):
    """A bug in a compiler's own first look."""

    def supports(self, about: About, precision: Precision, device: Device) -> str | None:  # noqa: ARG002
        raise ZeroDivisionError


class Crashing(Toy):
    def suffer(self) -> None:
        print("about to read nothing", flush=True)  # noqa: T201
        ctypes.string_at(0)


class Hanging(Toy):
    """Not alone: one child stays in its session, one leaves it."""

    def suffer(self) -> None:
        for apart in (False, True):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=apart)
        note("hangs")
        time.sleep(600)


class Eating(Toy):
    def suffer(self) -> None:
        eaten = []
        while True:
            eaten.append(b"x" * 2**24)
            time.sleep(0.01)


class Littering(Toy):
    """Its children outlive it."""

    def suffer(self) -> None:
        for apart in (False, True):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=apart)


class CrashesAtLoad(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"load": "crash"}


class HangsAtLoad(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"load": "hang"}


class FailsAtLoad(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"load": "fail"}


class CrashesWhenTimed(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"later": "crash"}


class HangsWhenTimed(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"later": "hang"}


class Corrupted(Toy):
    def weights(self, native: Any) -> Any:
        wrong = native.copy()
        wrong[1, 0] *= 1.01
        return wrong


class Swapped(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"swap": ["total", "first"]}


class OtherConstant(Toy):
    """Of the preprocessing: the source adds 7."""

    settings: ClassVar[Mapping[str, Any]] = {"constant": 7.1}


class OnlyOne(Toy):
    """Right for one row, and for more it repeats the first."""

    settings: ClassVar[Mapping[str, Any]] = {"frozen": True}


class Misreading(Toy):
    """Right for contiguous inputs only."""

    settings: ClassVar[Mapping[str, Any]] = {"contiguous": True}


class Sharing(Toy):
    """Two threads are four times as fast as one, and more are no faster."""

    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.008, "shares": 2}


class Alike(Toy):
    """As long on any number of threads."""

    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.008}


class OddWhenShared(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.002, "shared": {"constant": 7.1}}


class FailsWhenShared(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.002, "shared": {"load": "fail"}}


class LargeWhenShared(Toy):
    settings: ClassVar[Mapping[str, Any]] = {"delay": 0.002, "shared": {"megabytes": 128}}


class Told(Toy):
    """Fails where the search did not pass its environment on."""

    def suffer(self) -> None:
        assert os.environ["TOYS_TOLD"] == "yes"
        assert json.loads("{}") == {}


def registered() -> dict[str, str]:
    """Every toy under its name in small letters with dashes, as `COMPILERS` wants them."""
    found = [c for c in globals().values() if isinstance(c, type) and issubclass(c, Toy) and c is not Toy]
    names = {c: "".join(f"-{x.lower()}" if x.isupper() else x for x in c.__name__).strip("-") for c in found}
    return {name: f"{c.__module__}:{c.__name__}" for c, name in names.items()}
