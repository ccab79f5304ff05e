"""Keys as stored, callers as admitted, and what may be asked for at creation."""

from dataclasses import dataclass
from typing import Literal

Tier = Literal["free", "pro", "enterprise"]
Scope = Literal["generate", "sql", "nexus:read", "nexus:write", "nexus:deploy", "usage:read", "keys:write", "admin"]

TIERS: tuple[Tier, ...] = ("free", "pro", "enterprise")
SCOPES: tuple[Scope, ...] = (
    "generate",
    "sql",
    "nexus:read",
    "nexus:write",
    "nexus:deploy",
    "usage:read",
    "keys:write",
    "admin",
)
SCOPES_DEFAULT: tuple[Scope, ...] = ("generate", "sql", "nexus:read", "nexus:write", "usage:read")
LOCAL_TENANT = "local"
PLATFORM_TENANT = "platform"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key. Times are microseconds since the epoch.

    `id` names this row. `logical_id` is shared by a key and those it was rotated into: it names the bucket and
    the usage identity. The secret itself is nowhere: `key_hash` is bcrypt, `key_mac` the keyed MAC that admits.
    `None` in a quota means the tier's; an empty `models` or `allowed_ips` means any.
    """

    id: str
    logical_id: str
    kid: str
    tenant_id: str
    user_id: str | None
    name: str
    key_hash: str
    key_mac: bytes
    mac_version: int
    tier: Tier
    scopes: tuple[Scope, ...]
    models: tuple[str, ...]
    allowed_ips: tuple[str, ...]
    quota_requests_per_hour: int | None
    tokens_per_hour: int | None
    concurrency: int | None
    is_active: bool
    created_at_us: int
    expires_at_us: int
    last_used_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Made from a good key, from the admin key, or as the built-in tenant `local` in development."""

    key_id: str
    logical_id: str
    tenant_id: str
    user_id: str | None
    tier: Tier
    scopes: frozenset[Scope]
    models: tuple[str, ...]
    quota_requests_per_hour: int | None
    tokens_per_hour: int | None
    concurrency: int | None
    expires_at_us: int

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key shall be. `expires_in_days` 1..3650."""

    tenant_id: str
    user_id: str | None
    name: str
    tier: Tier = "free"
    scopes: tuple[Scope, ...] = SCOPES_DEFAULT
    models: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    quota_requests_per_hour: int | None = None
    tokens_per_hour: int | None = None
    concurrency: int | None = None
    expires_in_days: int = 365


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the only time that its `secret` (the whole key text) is seen."""

    secret: str
    key: ApiKey


@dataclass(frozen=True, slots=True)
class AuthEvent:
    """Something that other workers must hear of: a key was made or revoked. `seq` only grows."""

    seq: int
    kid: str
    created_at_us: int
