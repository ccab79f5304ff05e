"""The first thing that anybody runs: targets explain themselves, and a machine that lacks something is told what."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"setup", "run", "test", "lint", "types", "shape", "docs", "coverage", "bench", "mutation", "lock"}
TOOLS = ("sh", "cat", "cksum", "tr", "dirname", "rm")


def install(folder: Path, **pythons: str) -> subprocess.CompletedProcess[str]:
    """Runs the install script on a machine that has nothing but these pythons, each a shell script."""
    tools = folder / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or "")
    for name, script in pythons.items():
        path = tools / name.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    project = folder / "project"
    (project / "requirements").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements/install.sh", "requirements/run.txt"):
        shutil.copy(ROOT / name, project / name)
    command = ["sh", str(project / "requirements" / "install.sh"), "run"]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PATH": str(tools)},
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_help_names_every_target():
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout

    assert set(re.findall(r"^  make (\w+) +\S", printed, re.MULTILINE)) >= TARGETS


def test_ci_calls_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"^make ([a-z]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))

    assert {"test", "lint", "types", "storeys", "docs"} <= called <= targets


@pytest.mark.parametrize(
    ("pythons", "sentence"),
    [
        ({}, "Python 3.11 or newer is needed and none was found"),
        ({"python3": "exit 1"}, "Python 3.11 or newer is needed and none was found"),
        (
            {"python3": 'case "$2" in *ensurepip*) exit 1 ;; esac'},
            "python3 cannot make a virtual environment: run 'apt-get install python3-venv'",
        ),
    ],
    ids=["none", "too old", "without venv"],
)
def test_a_machine_without_python_is_told_what_to_do(tmp_path: Path, pythons: dict[str, str], sentence: str):
    result = install(tmp_path, **pythons)

    assert result.returncode == 1
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


def test_a_python_without_venv_is_passed_over_for_one_with_it(tmp_path: Path):
    made = install(
        tmp_path,
        python3_13='case "$2" in *ensurepip*) exit 1 ;; esac',
        python3='case "$1" in --version) echo Python 3.11.2 ;; -m) echo "made $*" >&2; exit 3 ;; esac',
    )

    assert "Making .venv with Python 3.11.2" in made.stdout
    assert made.stderr == "made -m venv --clear .venv\n"
