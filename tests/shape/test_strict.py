"""A skip is loud, and with STRICT=1 a failure: the plugin of tests/conftest.py on a small folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPPING = """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no server here")
def test_without_server(): pass
"""


def run(folder: Path, *, strict: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "STRICT": strict, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(PLUGIN.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(SKIPPING)
    return tmp_path


def test_a_skip_is_listed_with_its_reason(folder: Path):
    result = run(folder, strict="")

    assert result.returncode == 0
    assert "1 SKIPPED" in result.stdout
    assert "test_without_server: no server here" in result.stdout


def test_strict_fails_on_a_skip(folder: Path):
    result = run(folder, strict="1")

    assert result.returncode == 1
    assert "a failure, for STRICT=1 is set" in result.stdout


def test_strict_passes_without_a_skip(folder: Path):
    (folder / "test_one.py").write_text("def test_passes(): pass\n")

    result = run(folder, strict="1")

    assert result.returncode == 0
    assert "SKIPPED" not in result.stdout
