"""`aiservice models`: what the engines serve, and fetching more."""

import asyncio
from collections.abc import Sequence

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from aiservice.app import open_registry
from aiservice.cli.gguf import fetch, is_gguf
from aiservice.cli.tables import plain_table, show
from aiservice.core.errors import EngineUnreachable, FieldInvalid
from aiservice.core.settings import Settings, load
from aiservice.engines import Model

MEBIBYTE = 1024 * 1024


@click.group()
def command() -> None:
    """List the models of all engines, and fetch new ones."""


@command.command("list")
def list_models() -> None:
    """List every model that an engine serves now. The embedded one is loaded only while the service runs."""
    models, default = asyncio.run(_models(load()))
    table = plain_table("model", "size", "context", "loaded", "capabilities", "default")
    for model in models:
        size = "" if model.size_bytes is None else f"{model.size_bytes / MEBIBYTE:,.0f} MiB"
        context = "" if model.context_length is None else f"{model.context_length:,}"
        marks = ("yes" if model.is_loaded else "no", " ".join(model.capabilities))
        table.add_row(model.id, size, context, *marks, "yes" if model.name == default else "")
    show(table)


@command.command()
@click.argument("name")
@click.option("--sha256", metavar="HEX", help="The file's checksum; needed for an address.")
@click.option("--engine", metavar="ENGINE", default="ollama", show_default=True, help="Who fetches a model by name.")
def pull(name: str, sha256: str | None, engine: str) -> None:
    """Fetch a model: NAME as Ollama knows it, or the path or address of a GGUF file for the embedded engine."""
    settings = load()
    with _progress() as progress:
        task = progress.add_task(name, total=None)
        if not is_gguf(name):
            asyncio.run(_pull(settings, engine, name, progress=progress, task=task))
            click.echo(f"{name} is there. A running service lists it within some seconds: ask for {engine}/{name}.")
            return
        path = fetch(
            name,
            settings.server.data_dir / "models",
            sha256=sha256,
            report=lambda done, size: progress.update(task, completed=done, total=size),
        )
    click.echo(f"{path.resolve()} is there. Start the service with EMBEDDED_MODEL={path.resolve()} to use it.")


async def _models(settings: Settings) -> tuple[Sequence[Model], str]:
    async with open_registry(settings) as registry:
        return registry.models(), registry.default_name()


async def _pull(settings: Settings, engine_name: str, model: str, *, progress: Progress, task: TaskID) -> None:
    async with open_registry(settings) as registry:
        engine = registry.engine(engine_name)
        if engine is None:
            raise FieldInvalid(f"There is no engine {engine_name!r}.", param="engine")
        try:
            async for step in engine.pull(model):
                progress.update(
                    task, description=step.status, completed=step.completed_bytes or 0, total=step.total_bytes
                )
        except EngineUnreachable as error:
            raise EngineUnreachable(
                f"The engine {engine_name} does not answer; start it, or set OLLAMA_URL to where it is.",
                detail=error.detail,
            ) from error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
    )
