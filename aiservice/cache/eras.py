"""Where entries are in Redis, and what this worker knows of the eras they belong to.

An era is a random token in Redis. An entry and a lease name the four that stood when they were made: of everything, of
the model, of the tenant, and of both together. They are in force as long as these are the ones that stand. A clearing
removes a token, however many entries there are; one that is gone for another reason (evicted, Redis back empty) counts
as cleared too, for the next token is another.

In a cluster a script may only touch one hash slot. So each tenant belongs to one of 256 shards, the hash tag of all its
keys, and each shard has its own tokens of everything and of each model: clearing those takes 256 commands, and needs
no list of tenants that could be incomplete.
"""

import os
from collections.abc import Iterable
from zlib import crc32

from aiservice.cache.model import CacheKey

ERA_BYTES = 8
ERAS_BYTES = 4 * ERA_BYTES
SHARDS = 256
PLACES_MAX = 16_384


class Place:
    """Where a tenant's entries of one model are. `standing` are their eras as last seen, joined; short if one lacks."""

    __slots__ = ("eras", "prefix", "standing")

    def __init__(self, tenant_id: str, model: str) -> None:
        self.prefix = _prefix(_shard_of(tenant_id))
        self.eras = (
            self.prefix + _everything(),
            self.prefix + _of_model(model),
            self.prefix + _of_tenant(tenant_id),
            self.prefix + _of_both(tenant_id, model),
        )
        self.standing = b""

    def entry(self, key: CacheKey) -> str:
        return self.prefix + key.digest

    def lease(self, key: CacheKey) -> str:
        return f"{self.prefix}lease:{key.digest}"


class Eras:
    """The places that this worker uses, and a number that is another whenever a clearing may have been."""

    def __init__(self) -> None:
        self.number = 0
        self._places: dict[tuple[str, str], Place] = {}
        self._is_doubtful = False

    def place(self, key: CacheKey) -> Place:
        scope = (key.tenant_id, key.model)
        place = self._places.get(scope)
        if place is None:
            if len(self._places) == PLACES_MAX:
                # Who is forgotten here could be cleared unseen.
                self._places.clear()
                self.number += 1
            place = self._places[scope] = Place(*scope)
        return place

    def see(self, place: Place, standing: bytes) -> None:
        """Takes note of the eras that Redis told."""
        before = place.standing
        if standing != before:
            place.standing = standing
            # Nothing of this worker is bound to eras of which one was lacking: a claim makes them all.
            self.number += len(before) == ERAS_BYTES
        if self._is_doubtful:
            self._is_doubtful = False
            self.number += 1

    def doubt(self) -> None:
        """Redis did not answer: a clearing could have been in the meantime."""
        self._is_doubtful = True

    def clear(self) -> None:
        """This worker has cleared."""
        self.number += 1


def fresh() -> bytes:
    """What eras begin with that are missing."""
    return os.urandom(ERAS_BYTES)


def joined(eras: Iterable[bytes | None]) -> bytes:
    """As scripts join them; where one is missing it is shorter than any that an entry was sealed with."""
    return b"".join([era or b"" for era in eras])


def names_of(tenant_id: str | None, model: str | None) -> list[str]:
    """The tokens to remove when a tenant, a model, both or everything is cleared."""
    if tenant_id is not None:
        name = _of_tenant(tenant_id) if model is None else _of_both(tenant_id, model)
        return [_prefix(_shard_of(tenant_id)) + name]
    name = _everything() if model is None else _of_model(model)
    return [_prefix(shard) + name for shard in range(SHARDS)]


def _shard_of(tenant_id: str) -> int:
    return crc32(tenant_id.encode("utf-8", "surrogatepass")) % SHARDS


def _prefix(shard: int) -> str:
    return f"ai:c{{{shard}}}"


def _everything() -> str:
    return "era"


def _of_model(model: str) -> str:
    return f"era:model:{model}"


def _of_tenant(tenant_id: str) -> str:
    return f"era:tenant:{tenant_id}"


def _of_both(tenant_id: str, model: str) -> str:
    return f"era:both:{len(tenant_id)}:{tenant_id}{model}"
