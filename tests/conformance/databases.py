"""The main databases that every SQL backend runs over, and one that cannot be used."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.settings import ServerSettings, Settings, StoreSettings
from aiservice.stores.databases import MAIN_FILE, open_owner
from tests.settings import embedded_in

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.stores))
FAULTS = ("no table", "no database", "no server")

SettingsOn = Callable[[str], Settings]
EngineOn = Callable[[str], Awaitable[AsyncEngine]]


async def refuse_updates(settings: Settings, table: str) -> None:
    """From now on the database itself says no to every update of the table, for a reason of its own."""
    statements = [f"create trigger no before update on {table} begin select raise(abort, 'no'); end"]
    if settings.stores.postgres_url is not None:
        function = "create function no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$"
        statements = [function, f"create trigger no before update on {table} for each row execute function no()"]
    engine = open_owner(settings)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await engine.dispose()


def broken(fault: str, data_dir: Path) -> Settings:
    """Settings of a database that is in this way not to be used."""
    if fault == "no server":
        stores = StoreSettings(postgres_url="postgresql://nobody:secret@127.0.0.1:1/nothing")
        return Settings(server=ServerSettings(data_dir=data_dir), stores=stores)
    if fault == "no database":
        (data_dir / MAIN_FILE).write_bytes(b"this is no database" * 1_000)
    return embedded_in(data_dir)
