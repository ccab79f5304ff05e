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

    def is_good_at(self, now_us: int) -> bool:
        """Neither revoked nor expired."""
        return self.is_active and now_us < self.expires_at_us


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

    def may_use(self, *names: str) -> bool:
        """Whether the key may use the model of these names; one without a list of models may use all."""
        return not self.models or any(name in self.models for name in names)

    @property
    def is_local(self) -> bool:
        """Whether this is the built-in caller of development, not a key of a tenant that is called the same."""
        return self.key_id == BUILT_IN_KEY_ID and self.tenant_id == LOCAL_TENANT


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
    """Something that other workers must hear of: a key was made, retired or revoked. `seq` only grows.

    It comes with how its key stands when the event is read: `ends_at_us` is its expiry, 0 when it is switched off;
    `key_id` is None where there is no such key any more.
    """

    seq: int
    kid: str
    created_at_us: int
    key_id: str | None
    ends_at_us: int


# Callers without a row: their key id is the zero UUID, and they never expire (the last second of the year 9999).
BUILT_IN_KEY_ID = "00000000-0000-0000-0000-000000000000"
NEVER_US = 253_402_300_799_000_000

LOCAL_CALLER = Caller(
    key_id=BUILT_IN_KEY_ID,
    logical_id=BUILT_IN_KEY_ID,
    tenant_id=LOCAL_TENANT,
    user_id=None,
    tier="pro",
    scopes=frozenset(SCOPES) - {"admin"},
    models=(),
    quota_requests_per_hour=None,
    tokens_per_hour=None,
    concurrency=None,
    expires_at_us=NEVER_US,
)
"""This machine in development, without a key. May make keys for any tenant, tier and quota, but none with the scope
admin and none with token or concurrency limits; may list, revoke and rotate those of the tenant `local`."""

ADMIN_CALLER = Caller(
    key_id=BUILT_IN_KEY_ID,
    logical_id=BUILT_IN_KEY_ID,
    tenant_id=PLATFORM_TENANT,
    user_id=None,
    tier="enterprise",
    scopes=frozenset(SCOPES),
    models=(),
    quota_requests_per_hour=None,
    tokens_per_hour=None,
    concurrency=None,
    expires_at_us=NEVER_US,
)
"""The operator: who holds ADMIN_KEY, or works at the command line."""


def caller_of(key: ApiKey) -> Caller:
    """Who asks with this key."""
    return Caller(
        key_id=key.id,
        logical_id=key.logical_id,
        tenant_id=key.tenant_id,
        user_id=key.user_id,
        tier=key.tier,
        scopes=frozenset(key.scopes),
        models=key.models,
        quota_requests_per_hour=key.quota_requests_per_hour,
        tokens_per_hour=key.tokens_per_hour,
        concurrency=key.concurrency,
        expires_at_us=key.expires_at_us,
    )


FIRST_KEY = KeyRequest(
    tenant_id=LOCAL_TENANT,
    user_id=None,
    name="first key",
    tier="pro",
    scopes=(*SCOPES_DEFAULT, "nexus:deploy", "keys:write"),
)
FIRST_ADMIN_KEY = KeyRequest(
    tenant_id=PLATFORM_TENANT, user_id=None, name="first admin key", tier="enterprise", scopes=SCOPES
)
