"""What a process that runs a model is given of this one's environment: not what opens other doors.

A model may come from anybody, and its code, where the spec vouches for it, may read every variable of its process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_WORDS = r"KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN"
_OURS = re.compile(
    rf"LOCKGATE_\w*({_WORDS}|URL)\w*"
    rf"|MLFLOW_\w*({_WORDS}|USERNAME|HEADERS)\w*"
    rf"|PREFECT_\w*({_WORDS}|AUTH|HEADERS|CONNECTION_URL)\w*",
    re.IGNORECASE,  # Prefect reads its variables in either case
)
_BASIC = re.compile(
    rf"(?!\w*({_WORDS}))"
    r"(HOME|PATH|PWD|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|XDG_\w+"
    r"|PYTHON\w+|VIRTUAL_ENV|CONDA_\w+|LD_LIBRARY_PATH|CUDA_\w+|NVIDIA_\w+"
    r"|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)"
)
"""What a process needs to run at all. A spec may refer to it too, as to the folder of a certificate."""
_ADDRESSES = re.compile(r"(LOCKGATE|MLFLOW|PREFECT)_\w+", re.IGNORECASE)
_PASSWORD = re.compile(r"\w[\w+.-]*://[^/@\s]*:[^/@\s]*@")
_ANYWHERE = Path("/")
_withheld: dict[Path, frozenset[str]] = {}
"""By the folder of the processes that are not given them."""


def withhold(names: Iterable[str], folder: Path = _ANYWHERE) -> None:
    """These too, from now on: what a spec refers to as `${NAME}` is for Lockgate and not for the model.

    One process may serve several specs: `folder` is that of this spec's replicas, and others keep what they had.
    """
    place = folder.resolve()
    _withheld[place] = _withheld.get(place, frozenset()).union(names)


def handed_on(environment: Mapping[str, str], folder: Path | None = None) -> dict[str, str]:
    """All the rest: a model may need the proxy, a cloud's credentials, or a variable of its own.

    For a process that works in `folder`; without one, or in one that no spec named, nothing that any spec refers to.
    """
    withheld = {name for name in _of(folder) if not _BASIC.fullmatch(name)}
    return {name: value for name, value in environment.items() if name not in withheld and not _ours(name, value)}


def _of(folder: Path | None) -> set[str]:
    inside = [place for place in list(_withheld) if folder and place in (folder.resolve(), *folder.resolve().parents)]
    if all(place == _ANYWHERE for place in inside):
        inside = list(_withheld)
    return {name for place in inside for name in _withheld[place]}


def _ours(name: str, value: str) -> bool:
    return bool(_OURS.fullmatch(name) or (_ADDRESSES.fullmatch(name) and _PASSWORD.match(value)))
