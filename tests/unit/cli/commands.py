"""Runs commands in this process with an environment of their own."""

from pathlib import Path

from click.testing import CliRunner, Result

from aiservice.cli import main
from aiservice.core.settings import env_name, table


def run(*arguments: str, data_dir: Path, stdin: str | None = None, **environ: str) -> Result:
    """The command's result; settings of the machine that runs the tests do not reach it."""
    ours = {"ENVIRONMENT": "test", "DATA_DIR": str(data_dir), "OLLAMA_URL": "", "EMBEDDED_MODEL": "off", **environ}
    none = {name: None for _, _, field in table() for name in (env_name(field), f"{env_name(field)}_FILE")}
    return CliRunner().invoke(main, list(arguments), input=stdin, env={**none, **ours})
