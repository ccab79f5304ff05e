"""The bench is a folder of scripts, not a package: its modules are found through the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))
