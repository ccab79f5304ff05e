"""Installs the peers, each into an environment of its own under .cache/bench, from its lock file.

A peer is installed again when its lock changed. It is never part of the service's own environment.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_S = 900
STAMP = "installed.sha256"


class Absent(Exception):
    """A peer cannot be installed on this machine; the message says why."""


def install_litellm(root: Path) -> None:
    """A virtual environment with the hash-locked LiteLLM proxy. Raises `Absent`."""
    lock = root / "bench" / "requirements-litellm.txt"
    folder = litellm_folder(root)
    if _is_current(folder, lock):
        return
    _renew(folder)
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(lock)], folder)
    _run([str(folder / "bin" / "python"), "-m", "compileall", "-q", str(folder / "lib")], folder, may_fail=True)
    _stamp(folder, lock)


def install_portkey(root: Path) -> None:
    """A Node folder with the locked Portkey gateway; no install script runs. Raises `Absent`."""
    source = root / "bench" / "portkey"
    folder = portkey_folder(root)
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Absent("node and npm are not installed")
    if _is_current(folder, source / "package-lock.json"):
        return
    _renew(folder)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder / name)
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    _stamp(folder, source / "package-lock.json")


def litellm_folder(root: Path) -> Path:
    return root / ".cache" / "bench" / "litellm"


def portkey_folder(root: Path) -> Path:
    return root / ".cache" / "bench" / "portkey"


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _is_current(folder: Path, lock: Path) -> bool:
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text() == _digest(lock)


def _stamp(folder: Path, lock: Path) -> None:
    (folder / STAMP).write_text(_digest(lock))


def _renew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _run(command: Sequence[str], folder: Path, *, may_fail: bool = False) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"not installed: {error}") from error
    if done.returncode and not may_fail:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Absent(f"not installed: {(lines or ['no output'])[-1]}")
