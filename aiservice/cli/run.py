"""`aiservice run`, which `make run` calls: the service in development, introduced by one real answer."""

import json
import subprocess
import sys
import time
from urllib.parse import urlsplit

import click

from aiservice.cli.public_api import FirstAnswer, NoAnswer, PublicApi
from aiservice.cli.serve_process import ServeProcess
from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings, load

QUESTION = "What is Docker? Answer in one short sentence."
MAX_TOKENS = 60
# For the model to load and to answer. Later runs are to be ready within 3 s, whatever the model does.
WAIT_S_FIRST = 60.0
WAIT_S_LATER = 1.5
POLL_S = 0.05
SHOWN_NAME = "first-keys-shown"


@click.command()
def command() -> None:
    """Try the service on this machine: start it, ask the model a question, serve on until Ctrl-C."""
    settings = load()
    if not settings.is_development:
        raise StartRefused("`aiservice run` is for a trial: set ENVIRONMENT=development, or use `aiservice serve`.")
    with ServeProcess() as served:
        sys.exit(served.serve(lambda url: _introduce(settings, url)))


def _introduce(settings: Settings, url: str) -> None:
    click.echo("It serves; the model is asked a first question ...", err=True)
    shown = settings.server.data_dir / SHOWN_NAME
    is_first = not shown.exists()
    keys = _first_keys() if is_first else None
    api_key = None if keys is None else keys["api_key"]
    api = PublicApi(_own_address(url), api_key=api_key)
    _say_answer(api, settings, wait_s=WAIT_S_FIRST if is_first else WAIT_S_LATER)
    if keys is not None:
        click.echo("Your keys, shown this once; only their hashes are stored:")
        click.echo(f"  API key    {keys['api_key']}")
        click.echo(f"  Admin key  {keys['admin_key']}\n")
    shown.touch()
    header = "" if api_key is None else f"-H 'X-API-Key: {api_key}' "
    click.echo("Ask it yourself:")
    body = json.dumps({"prompt": "What is Docker?"})
    click.echo(f"  curl -s {url}/ai/generate {header}-H 'Content-Type: application/json' -d '{body}'\n")
    click.echo(f"Documentation: {url}/docs")
    click.echo(f"ready on {url}")


def _say_answer(api: PublicApi, settings: Settings, *, wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    try:
        _wait_for_model(api, settings, deadline_s)
        left_s = max(POLL_S, deadline_s - time.monotonic())
        _print_answer(api.generate(QUESTION, max_tokens=MAX_TOKENS, timeout_s=left_s))
    except NoAnswer as error:
        click.echo(f"The model has not answered the first question ({error.public}); the service runs all the same.\n")


def _wait_for_model(api: PublicApi, settings: Settings, deadline_s: float) -> None:
    """Waits while the embedded model loads; raises `NoAnswer` when that takes too long or there is no model."""
    is_embedded = settings.engines.embedded_model != "off"
    while True:
        models = api.loaded_models()
        if not models and not is_embedded:
            raise NoAnswer("no engine has a model: see `aiservice models pull --help`")
        if not is_embedded or any(loaded for id_, loaded in models.items() if id_.startswith("llamacpp/")):
            return
        if time.monotonic() >= deadline_s:
            raise NoAnswer("the embedded model is still loading; DATA_DIR/log/llamacpp.log has its messages")
        time.sleep(POLL_S)


def _print_answer(answer: FirstAnswer) -> None:
    tokens = f"{answer.prompt_tokens} + {answer.completion_tokens} tokens"
    click.echo(f"Question   {QUESTION}")
    click.echo(f"Answer     {answer.text}")
    click.echo(f"Model      {answer.model} ({answer.engine}), {tokens}, {answer.tokens_per_s:.0f} tokens/s\n")


def _first_keys() -> dict[str, str] | None:
    """A process of its own, so that this one stays small; None where there are keys already."""
    command = [sys.executable, "-m", "aiservice", "keys", "bootstrap"]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, process_group=0, check=False)  # noqa: S603
    if made.returncode != 0:
        raise StartRefused("The first keys could not be made; the line above says why.")
    keys: dict[str, str] | None = json.loads(made.stdout)
    return keys


def _own_address(url: str) -> str:
    """Where this machine reaches a service that listens on all addresses."""
    parts = urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parts.hostname or "", parts.netloc.rpartition(":")[0])  # noqa: S104
    return f"http://{host}:{parts.port}"
