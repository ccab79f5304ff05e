"""Waits for the ledger: rows reach the database a few milliseconds after their answers."""

import asyncio
from typing import Any

from tests.api.asgi_client import Client
from tests.api.conftest import Service


async def rows_of(service: Service, client: Client, *, count: int) -> list[dict[str, Any]]:
    """The caller's rows once there are `count`; fails when there are more, or not as many within 5 s."""
    rows: list[dict[str, Any]] = []
    for _ in range(250):
        rows = (await client.get("/usage/logs")).json["logs"]
        if len(rows) >= count:
            break
        await asyncio.sleep(0.02)
    assert len(rows) == count, rows
    return rows
