"""The way from settings to running processes, in the order that it has to go."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from aiservice.observe.logging import configure_logging, style_for
from aiservice.observe.shared import share_metrics
from aiservice.server.data_dir import hold_data_dir
from aiservice.server.listener import bind

if TYPE_CHECKING:
    from aiservice.core.settings import Settings


def launch(settings: Settings, *, app: str = "aiservice.app", engine_command: Sequence[str] | None = None) -> int:
    """Serves until a signal says stop; gives the exit code.

    `app` names the module with `prepare(settings)` and `create_app(settings)`; `engine_command` stands in for the
    embedded engine's. Raises `PortInUse`, `SettingInvalid` or `StartRefused` before any process is forked.
    """
    style = style_for(sys.stderr, is_development=settings.is_development)
    configure_logging(level=settings.server.log_level, style=style)
    run_dir = settings.server.data_dir / "run"
    with bind(settings.server.host, settings.server.port) as listener, hold_data_dir(run_dir):
        share_metrics(run_dir / "metrics")
        # Only now, for both of them load prometheus_client.
        supervisor = import_module("aiservice.server.supervisor")
        application = import_module(app)
        code: int = supervisor.supervise(settings, application, listener=listener, engine_command=engine_command)
        return code
