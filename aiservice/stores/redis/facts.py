"""What an operator should know of a Redis before it is relied on."""

from dataclasses import dataclass

from aiservice.core.errors import StartRefused
from aiservice.stores.redis.client import Redis

VERSION_MIN = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The version of the oldest server, and the policy by which a full one drops keys; None: none does."""

    version: str
    eviction_policy: str | None


async def check(redis: Redis) -> ServerFacts:
    """Asks every server that is connected. A limit's bucket must never be dropped, an entry of the cache may be.

    Raises `StartRefused` for a server older than 6.2 and for a node of a cluster whose address says nothing of one,
    `StoreUnavailable` where none answers.
    """
    all_facts = [_facts(reply) for reply in await redis.each("INFO")]
    oldest = min((facts.get("redis_version", "0") for facts in all_facts), key=_numbers)
    if _numbers(oldest) < VERSION_MIN:
        raise StartRefused(f"The Redis for {redis.name} is version {oldest}; 6.2 or newer is needed.")
    if redis.kind != "cluster" and any(facts.get("cluster_enabled") == "1" for facts in all_facts):
        raise StartRefused(
            f"The Redis for {redis.name} is a node of a cluster: begin its address with redis+cluster://."
        )
    policies = (_eviction_policy(facts) for facts in all_facts)
    return ServerFacts(oldest, next((policy for policy in policies if policy is not None), None))


def _facts(reply: object) -> dict[str, str]:
    """INFO's lines of "name:value"."""
    lines = reply.decode(errors="replace").splitlines() if isinstance(reply, bytes) else []
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _numbers(version: str) -> tuple[int, ...]:
    """What can be compared of "7.2.4": its first two numbers."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))[:2]


def _eviction_policy(facts: dict[str, str]) -> str | None:
    policy = facts.get("maxmemory_policy", "noeviction")
    return policy if facts.get("maxmemory", "0") != "0" and policy != "noeviction" else None
