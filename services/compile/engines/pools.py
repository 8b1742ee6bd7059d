"""Thread pools of libraries that have no setting of their own for a call: OpenMP's, OpenBLAS's, MKL's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """What is imported meanwhile reads the number from the environment, and what was there before is told afterwards.

    OpenMP is told for the calling thread only, and a batch runs in another one: so the environment matters.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    yield
    if threads is not None:
        with contextlib.suppress(ImportError):
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

            threadpool_limits(threads)
