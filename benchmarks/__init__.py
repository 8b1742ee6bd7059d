"""One command per published figure. They run from the repository's root, with or without Lockgate installed."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("lockgate") is None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
