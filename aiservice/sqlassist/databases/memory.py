"""Registered databases in memory, for tests."""

from collections.abc import Sequence

from aiservice.sqlassist.databases.model import Registered


class MemoryDatabaseStore:
    """A dictionary."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Registered] = {}

    async def put(self, row: Registered) -> None:
        self._rows[row.tenant_id, row.name] = row

    async def find(self, tenant_id: str, name: str) -> Registered | None:
        return self._rows.get((tenant_id, name))

    async def list(self, tenant_id: str) -> Sequence[Registered]:
        return [row for (owner, _), row in sorted(self._rows.items()) if owner == tenant_id]

    async def remove(self, tenant_id: str, name: str) -> bool:
        return self._rows.pop((tenant_id, name), None) is not None
