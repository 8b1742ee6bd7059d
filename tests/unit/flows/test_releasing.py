"""Of two releases of one pipeline one goes on, and one that was killed keeps nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.flows import releasing
from lockgate.flows.errors import NothingToDo
from lockgate.flows.home import Home

RELEASES = """
import sys
from pathlib import Path
from lockgate.flows.home import Home
from lockgate.flows.releasing import releasing
with releasing(Home(Path(sys.argv[1]), ""), "toy"):
    print("begun", flush=True)
    input()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "")


def test_one_at_a_time_until_it_ends_or_is_killed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "_WITHIN", 0.05)
    assert not releasing.is_releasing(home, "toy")
    command = [sys.executable, "-c", RELEASES, str(home.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"begun\n"
        assert releasing.is_releasing(home, "toy")
        with pytest.raises(NothingToDo, match="another release"), releasing.releasing(home, "toy"):
            pass
        with releasing.releasing(home, "other"):
            assert not releasing.is_releasing(home, "third")
        first.kill()
        first.wait()
        assert not releasing.is_releasing(home, "toy")
        with releasing.releasing(home, "toy"):
            assert releasing.is_releasing(home, "toy")
    assert not releasing.is_releasing(home, "toy")
