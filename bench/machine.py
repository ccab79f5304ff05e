"""Facts of the machine and the tree that a result was taken on."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine_facts() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load at the end": f"{os.getloadavg()[0]:.1f}",
    }


def tool_versions() -> dict[str, str]:
    """What the targets run on and the load is made with."""
    found = {"python": platform.python_version(), **{name: version(name) for name in ("uvloop", "httptools")}}
    if shutil.which("node"):
        found["node"] = _output(["node", "--version"]).lstrip("v")
    return found


def git_state(root: Path) -> tuple[str, bool]:
    """The short commit and whether the tree differs from it; ("none", True) outside a repository."""
    commit = _output(["git", "-C", str(root), "rev-parse", "--short", "HEAD"])
    return commit or "none", not commit or bool(_output(["git", "-C", str(root), "status", "--porcelain"]))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
