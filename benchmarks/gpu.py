"""What a model could do on the device itself, without the copies of a request: each way of running it, and the floors.

A floor is the time below which no implementation comes: the bytes that must move over the bandwidth of a measured
copy, or the arithmetic over the rate of a measured large matrix product, whichever is longer.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockgate.services.compile.apart import call
from lockgate.services.compile.errors import Lost
from lockgate.services.compile.words import Limits

from . import models

_ROUNDS, _CALLS, _WARM = 7, 20, 3
_WRONG = 0.05
"""An error beyond this share of the outputs' scale: that way's figure is not shown."""
_LIMITS = Limits(seconds=1200.0, memory=64 * 2**30)
Run = Callable[[], Any]


def throughput(name: str, batch: int, device: str = "cuda") -> dict[str, Any]:
    """Rows a second of each way, in half precision, and the floors; printed as a table too."""
    with tempfile.TemporaryDirectory(prefix="lockgate-gpu-") as place:
        folder = Path(place)
        caches = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}
        try:
            found: dict[str, Any] = call(partial(_measured, name, batch, device, folder), folder, _LIMITS, caches)
        except Lost as lost:
            return {"failed": str(lost)}
    _print(name, batch, found)
    return found


def _measured(name: str, batch: int, device: str, folder: Path) -> dict[str, Any]:
    import torch

    torch.set_grad_enabled(False)
    exact = models.built(name)
    given = [torch.from_numpy(value) for value in models.KINDS[name].example(batch).values()]
    truth = exact(*given)
    module = exact.to(device, torch.float16 if device == "cuda" else torch.float32)
    inputs = [_placed(value, device, module) for value in given]
    floors = _floors(module, inputs, device)
    runs, failed = {}, {}
    for way, make in _ways(module, inputs, device, folder):
        try:
            runs[way] = _checked(make(), truth)
        except Exception as error:  # noqa: BLE001 - one way less
            failed[way] = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    return {
        "batch": batch,
        "rows_per_second": {way: round(batch / seconds, 1) for way, seconds in _timed(runs, device).items()},
        "floors": {kind: round(batch / seconds, 1) for kind, seconds in floors["seconds"].items()},
        "measured": floors["measured"],
        "failed": failed,
    }


def _placed(value: Any, device: str, module: Any) -> Any:
    """Images with their channels last, which half precision's convolutions want."""
    import torch

    value = value.to(device)
    if value.is_floating_point():
        value = value.to(next(module.parameters()).dtype)
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def _ways(module: Any, inputs: list[Any], device: str, folder: Path) -> Iterator[tuple[str, Callable[[], Run]]]:
    import torch

    plain = [value.contiguous() for value in inputs]
    yield "eager", lambda: partial(module, *plain)
    if any(value.dim() == 4 for value in inputs):
        module = copy.deepcopy(module).to(memory_format=torch.channels_last)
        yield "eager, channels last", lambda: partial(module, *inputs)
    if device == "cuda":
        yield "eager, CUDA graph", lambda: _graphed(partial(module, *inputs))
    yield "torch-compile", lambda: partial(torch.compile(module, dynamic=False), *inputs)
    if device == "cuda":
        yield "torch-compile, CUDA graphs", lambda: partial(torch.compile(module, mode="reduce-overhead"), *inputs)
    yield "aotinductor", lambda: _packaged(module, inputs, folder)
    if device == "cuda":
        yield "aotinductor, CUDA graph", lambda: _graphed(_packaged(module, inputs, folder))


def _packaged(module: Any, inputs: list[Any], folder: Path) -> Run:
    import torch
    from torch import _inductor as inductor

    package = folder / "model.pt2"
    if not package.exists():
        program = torch.export.export(module, tuple(inputs))
        inductor.aoti_compile_and_package(program, package_path=str(package))
    return partial(inductor.aoti_load_package(str(package)), *inputs)


def _graphed(run: Run) -> Run:
    """The kernels of one call, recorded: replayed without a word from Python."""
    import torch

    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(_WARM):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = run()

    def replay() -> Any:
        graph.replay()
        return answer

    return replay


def _checked(run: Run, truth: Any) -> Run:
    """It has answered some calls, and rightly."""
    for _ in range(_WARM):
        answer = run()
    answer = answer[0] if isinstance(answer, list | tuple) else answer
    error = float((answer.float().cpu() - truth).abs().max() / truth.abs().max())
    if not error < _WRONG:
        raise ValueError(f"answers wrongly: off by {error:.3f} of the outputs' scale")
    return run


def _timed(runs: dict[str, Run], device: str) -> dict[str, float]:
    """Seconds of a call, each in turn."""
    found: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(_ROUNDS):
        for way, run in runs.items():
            found[way].append(_seconds(run, device))
    return {way: statistics.median(seconds) for way, seconds in found.items()}


def _seconds(run: Run, device: str) -> float:
    run()
    _wait(device)
    began, calls = time.perf_counter(), _CALLS if device == "cuda" else 1
    for _ in range(calls):
        run()
    _wait(device)
    return (time.perf_counter() - began) / calls


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _floors(module: Any, inputs: list[Any], device: str) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    dtype = next(module.parameters()).dtype
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    moved, flops = _bytes(module, inputs), counter.get_total_flops()
    size, side = (2**29, 8192) if device == "cuda" else (2**25, 1024)
    a, b = (torch.empty(size, dtype=dtype, device=device).zero_() for _ in range(2))
    bandwidth = 2 * a.nbytes / min(_seconds(partial(a.copy_, b), device) for _ in range(_ROUNDS))
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    rate = 2 * side**3 / min(_seconds(partial(torch.mm, left, right), device) for _ in range(_ROUNDS))
    return {
        "seconds": {"memory": moved / bandwidth, "arithmetic": flops / rate},
        "measured": {
            "copy_gb_per_second": round(bandwidth / 1e9, 1),
            "matmul_tflops": round(rate / 1e12, 2),
            "model_gb": round(moved / 1e9, 4),
            "model_tflop": round(flops / 1e12, 4),
        },
    }


def _bytes(module: Any, inputs: list[Any]) -> int:
    """Weights read once; the output of each convolution and matrix product written once and read once."""
    from torch import nn

    written = 0

    def count(_part: Any, _given: Any, output: Any) -> None:
        nonlocal written
        written += output.nbytes

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    module(*inputs)
    for hook in hooks:
        hook.remove()
    weights = sum(value.nbytes for value in module.parameters())
    return weights + 2 * written + sum(value.nbytes for value in inputs)


def _print(name: str, batch: int, found: dict[str, Any]) -> None:
    unit, made = models.KINDS[name].unit, found["measured"]
    print(f"\n{name}, batch {batch}, half precision, on the device alone: {unit}/s")
    for way, rate in sorted(found["rows_per_second"].items(), key=lambda item: item[1]):
        print(f"| {way} | {rate:,.0f} |")
    for way, reason in found["failed"].items():
        print(f"| {way} | {reason} |")
    floors = {
        "memory": f"{made['model_gb']} GB at {made['copy_gb_per_second']} GB/s",
        "arithmetic": f"{made['model_tflop']} TFLOP at {made['matmul_tflops']} TFLOP/s",
    }
    for kind, rate in found["floors"].items():
        print(f"| bound by {kind} ({floors[kind]}) | {rate:,.0f} |")
