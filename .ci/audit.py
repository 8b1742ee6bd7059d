"""What is installed is what constraints.txt says, whole and consistent. `make audit` runs it; see docs/security.md.

It compares versions, and not the bytes of packages: whoever can publish another file under a version that is pinned is
not found by it. Vulnerabilities that are known are looked up where pip-audit is installed and its database answers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
_INSTALLERS = {"pip", "setuptools", "uv", "wheel", "lockgate"}
_UNKNOWN = "known vulnerabilities were not looked up"
_PATIENCE = 60


def main() -> int:
    """Exit code 1, and a line for each thing that is wrong."""
    wrong = [*unpinned(pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))), *inconsistent()]
    for line in wrong:
        print(line)
    known = vulnerable()
    print(f"{len(wrong)} packages differ from constraints.txt or from one another; {known}")
    return 1 if wrong or known.startswith("vulnerable") else 0


def pins(text: str) -> dict[str, str]:
    """Version by normalised name. Raises `ValueError` for a line that is no exact version."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        wanted = line.partition("#")[0].partition(";")[0].strip()
        if not wanted or wanted.startswith("-"):
            continue
        name, equals, version = wanted.partition("==")
        if not equals or not version or "*" in version:
            raise ValueError(f"constraints.txt: {wanted!r} is no exact version; write name==version")
        found[_normal(name)] = version.strip()
    return found


def unpinned(pinned: dict[str, str]) -> list[str]:
    """A sentence for each installed package that has no pin, or another version."""
    wrong = []
    for one in distributions():
        name = _normal(one.metadata["Name"])
        if name in _INSTALLERS:
            continue
        if name not in pinned:
            wrong.append(
                f"{name} {one.version} is installed and constraints.txt does not name it: add {name}=={one.version}"
            )
        elif pinned[name] not in (one.version, one.version.partition("+")[0]):
            wrong.append(f"{name} {one.version} is installed and constraints.txt says {pinned[name]}: install that one")
    return sorted(set(wrong))


def inconsistent(python: str = sys.executable) -> list[str]:
    """What `pip check` says; an environment without pip is not taken for consistent."""
    done = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    if not done.returncode:
        return []
    why = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    unknown = (
        f"packages were not compared with one another: `pip check` says {why!r}. Install pip into this environment "
        "(`python -m ensurepip`, `uv pip install pip`) and repeat"
    )
    return done.stdout.splitlines() or [unknown]


def vulnerable() -> str:
    """In a few words, whether the pins have vulnerabilities that somebody reported."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("pip-audit", path=beside) or shutil.which("pip-audit")
    if program is None:
        return f"{_UNKNOWN}: pip-audit is not installed"
    asked = [program, "--no-deps", "--disable-pip", "--timeout", "5", "--format", "json"]
    asked += ["--requirement", str(ROOT / "constraints.txt")]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        found = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return f"{_UNKNOWN}: the database does not answer"
    known = [one for one in found if "vulns" in one]
    bad = [f"{one['name']} {one['version']}: {v['id']}" for one in known for v in one["vulns"]]
    if bad:
        return "vulnerable:\n" + "\n".join(bad)
    return f"no vulnerability is known of {len(known)} packages; {len(found) - len(known)} the database does not know"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
