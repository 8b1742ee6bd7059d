"""What the control path costs, and how long it takes to act: python -m benchmarks.control.

`ticks`: CPU and memory with 1, 10, 100 and 1,000 open rollouts, each three days old, and of one by the length of its
history. `challenger`: from a set `@challenger` to the first copied request, by stage, the driver's share of a core.
`faults`: from a fault to weight 0. About 25 minutes in all. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.control import challenger, faults, ticks

PARTS = ("ticks", "challenger", "faults")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be given again")
    parser.add_argument("--rollouts", type=int, nargs="+", default=ticks.SOME, help="of `ticks`: how many are open")
    parser.add_argument("--looks", type=int, default=ticks.LOOKS, help="of `ticks`: looks in a rollout's three days")
    parser.add_argument("--rounds", type=int, default=ticks.ROUNDS, help="of `ticks`")
    parser.add_argument("--every", default="60s", help="of `challenger`: time between two sweeps")
    parser.add_argument("--runs", type=int, default=5, help="of `faults`: how often each fault is struck")
    asked = parser.parse_args()
    parts = {
        "ticks": lambda: ticks.measured(asked.rollouts, asked.looks, asked.rounds),
        "challenger": lambda: challenger.measured(asked.every),
        "faults": lambda: faults.measured(asked.runs),
    }
    line: dict[str, float] = {}
    for part in asked.part or PARTS:
        line |= parts[part]()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
