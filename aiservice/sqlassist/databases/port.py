"""Where registered databases are kept."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.sqlassist.databases.model import Registered


class DatabaseStore(Protocol):
    """Rows by tenant and name. Every call raises `StoreUnavailable` when the database cannot be used."""

    async def put(self, row: Registered) -> None:
        """Adds it, or takes the place of the one of this tenant and name."""
        ...

    async def find(self, tenant_id: str, name: str) -> Registered | None:
        """The row of this name, None where there is none."""
        ...

    async def list(self, tenant_id: str) -> Sequence[Registered]:
        """The tenant's rows by name."""
        ...

    async def remove(self, tenant_id: str, name: str) -> bool:
        """Whether there was one."""
        ...
