"""Applies revisions over a connection that somebody else has opened, within its transaction."""

from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from aiservice.core.errors import StartRefused

HEAD = "0005"
BASE = "base"
SCRIPTS_DIR = Path(__file__).with_name("migrations")


def apply(connection: sa.Connection, direction: Literal["upgrade", "downgrade"], revision: str) -> None:
    """Raises `StartRefused` for a database that a newer version of the service has made."""
    # Alembic costs a start 140 ms and is needed only where a revision is missing.
    from alembic import command, config, util  # noqa: PLC0415

    scripts = config.Config()
    # The option is read with interpolation, so a percent sign in the path is doubled.
    scripts.set_main_option("script_location", str(SCRIPTS_DIR).replace("%", "%%"))
    scripts.attributes["connection"] = connection
    try:
        getattr(command, direction)(scripts, revision)
    except util.CommandError as error:
        raise StartRefused(f"The database was not made by this version of the service: {error}") from error
