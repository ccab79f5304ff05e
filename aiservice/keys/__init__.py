"""API keys, their tiers and tenants: made, admitted, rotated, revoked.

Promises: a key is shown once and stored as bcrypt and a keyed MAC; one answer, 401, for malformed, unknown, wrong,
revoked and expired keys alike; a revoked key is refused by every process within a second and its open streams end;
no key gives away more than it has. bcrypt never runs while a request is admitted.

Flow: a door calls `Keys.cached`, and on a miss `Keys.verify` (or `verify_admin`, `check`), and gets a `Caller`;
`create`, `rotate`, `revoke` and `page` take the `Caller` who asks. `Keys.watch` runs beside them in every process: it
polls the key events each 250 ms, and at once when another process rings.
When the store cannot be used or hangs, keys that were admitted before are let in for at most 60 s more, and none of
them waits for it; everything else raises `StoreUnavailable` (503) within 2 s, never `KeyRefused`. A lost ring costs
nothing but the time to the next poll.
"""

from aiservice.keys.audit import Finding
from aiservice.keys.model import (
    ADMIN_CALLER,
    BUILT_IN_KEY_ID,
    FIRST_ADMIN_KEY,
    FIRST_KEY,
    LOCAL_CALLER,
    LOCAL_TENANT,
    PLATFORM_TENANT,
    SCOPES,
    SCOPES_DEFAULT,
    TIERS,
    ApiKey,
    AuthEvent,
    Caller,
    KeyRequest,
    NewKey,
    Scope,
    Tier,
)
from aiservice.keys.pepper import load_pepper
from aiservice.keys.port import KeyStore
from aiservice.keys.service import Keys

__all__ = [
    "ADMIN_CALLER",
    "BUILT_IN_KEY_ID",
    "FIRST_ADMIN_KEY",
    "FIRST_KEY",
    "LOCAL_CALLER",
    "LOCAL_TENANT",
    "PLATFORM_TENANT",
    "SCOPES",
    "SCOPES_DEFAULT",
    "TIERS",
    "ApiKey",
    "AuthEvent",
    "Caller",
    "Finding",
    "KeyRequest",
    "KeyStore",
    "Keys",
    "NewKey",
    "Scope",
    "Tier",
    "load_pepper",
]
