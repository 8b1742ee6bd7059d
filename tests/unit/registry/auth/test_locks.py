from __future__ import annotations

import subprocess
import sys

import pytest

from lockgate.registry.auth.audit import Audit
from lockgate.registry.auth.errors import Busy
from lockgate.registry.auth.locks import lock_of

HOLDER = (
    "import sys\nfrom lockgate.registry.auth.audit import Audit\nfrom lockgate.registry.auth.locks import lock_of\n"
    "with lock_of(Audit(sys.argv[1]).engine)('fraud'):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


def test_one_process_at_a_time_changes_a_model(url: str) -> None:
    audit = Audit(url)
    lock = lock_of(audit.engine, patience=0.2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(Busy, match="somebody else is changing fraud at the moment"), lock("fraud"):
            pass
        with lock("churn"):
            pass

        holder.stdin.close()
        assert holder.wait(30) == 0
    with lock("fraud"):
        pass
    audit.engine.dispose()


def test_one_request_at_a_time_within_a_process(url: str) -> None:
    audit = Audit(url)
    lock = lock_of(audit.engine, patience=0.2)

    with lock("fraud"), pytest.raises(Busy), lock("fraud"):
        pass
    with lock("fraud"):
        pass
    audit.engine.dispose()


def test_a_request_that_fails_gives_its_lock_back(url: str) -> None:
    audit = Audit(url)
    lock = lock_of(audit.engine, patience=0.2)

    with pytest.raises(ZeroDivisionError), lock("fraud"):
        raise ZeroDivisionError
    with lock("fraud"):
        pass
    audit.engine.dispose()
