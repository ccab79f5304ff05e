"""The registered databases of each tenant."""

import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aiservice.core.clock import Clock
from aiservice.core.errors import DatabaseDown, DatabaseUnknown, FieldInvalid
from aiservice.sqlassist.databases.model import Registered
from aiservice.sqlassist.databases.port import DatabaseStore
from aiservice.sqlassist.model import Target

SCHEMES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")
URL_CHARACTERS_MAX = 2_000
NONCE_BYTES = 12
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


class Databases:
    """`secret` is 32 bytes, the same for all instances that share the store."""

    def __init__(self, store: DatabaseStore, *, secret: bytes, clock: Clock) -> None:
        self._store = store
        self._cipher = AESGCM(secret)
        self._clock = clock

    async def add(self, tenant_id: str, name: str, url: str) -> Registered:
        """Registers it, or gives a known name a new address; raises `FieldInvalid`."""
        if _NAME.fullmatch(name) is None:
            raise FieldInvalid("The name takes 1 to 64 of a-z, 0-9, _ and -.", param="name")
        if url.partition("://")[0] not in SCHEMES or len(url) > URL_CHARACTERS_MAX:
            raise FieldInvalid(
                "The address begins with postgresql://, mysql:// or sqlite:/// and has at most 2,000 characters.",
                param="url",
            )
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, url.encode(), _label(tenant_id, name))
        row = Registered(tenant_id, name, sealed, self._clock.now_us())
        await self._store.put(row)
        return row

    async def target(self, tenant_id: str, name: str) -> Target:
        """The database to open; raises `DatabaseUnknown`, or `DatabaseDown` where its address cannot be unsealed."""
        row = await self._store.find(tenant_id, name)
        if row is None:
            raise DatabaseUnknown(f"There is no registered database {name!r}.", param="database")
        nonce, sealed = row.sealed_url[:NONCE_BYTES], row.sealed_url[NONCE_BYTES:]
        try:
            url = self._cipher.decrypt(nonce, sealed, _label(tenant_id, name)).decode()
        except InvalidTag:
            raise DatabaseDown(
                f"The address of the database {name!r} was sealed with another KEY_PEPPER; register it again."
            ) from None
        return Target(name, url)

    async def list(self, tenant_id: str) -> Sequence[Registered]:
        """The tenant's, by name."""
        return await self._store.list(tenant_id)

    async def remove(self, tenant_id: str, name: str) -> None:
        """Forgets it; raises `DatabaseUnknown`."""
        if not await self._store.remove(tenant_id, name):
            raise DatabaseUnknown(f"There is no registered database {name!r}.", param="database")


def _label(tenant_id: str, name: str) -> bytes:
    return f"aiservice database: {tenant_id}/{name}".encode()
