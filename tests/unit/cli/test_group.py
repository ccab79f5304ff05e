import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from aiservice import __version__
from aiservice.cli.group import COMMANDS
from tests.unit.cli.commands import run

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("fastapi", "sqlalchemy", "aiohttp", "rich", "uvicorn", "prometheus_client", "alembic")


def imported(code: str) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return set(printed.stdout.split())


def test_help_names_every_command(tmp_path):
    printed = run("--help", data_dir=tmp_path)

    assert printed.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in printed.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, tmp_path):
    assert isinstance(import_module(COMMANDS[name][0]).command, click.Command)
    assert "Usage:" in run(name, "--help", data_dir=tmp_path).stdout


def test_an_unknown_command_is_refused(tmp_path):
    refused = run("frobnicate", data_dir=tmp_path)

    assert refused.exit_code == 2
    assert "No such command 'frobnicate'" in refused.stderr


def test_the_version(tmp_path):
    assert __version__ in run("--version", data_dir=tmp_path).stdout


@pytest.mark.parametrize("code", ["import aiservice.cli", "import aiservice.cli.serve", "import aiservice.cli.run"])
def test_commands_start_without_what_they_do_not_need(code):
    assert imported(code).isdisjoint(HEAVY)


def test_the_engine_s_child_is_small():
    assert imported("import aiservice.server.embedded").isdisjoint((*HEAVY, "pydantic", "click", "asyncio"))
