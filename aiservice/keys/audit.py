"""`aiservice keys audit`: whether every stored key is one that this service could have written.

The key itself is stored nowhere, so the two hashes of a row cannot be compared with each other. Checked of each row:
the bcrypt hash has the right form and at least the cost that is set now, the MAC its length and a version that is
still read, kid and id are used once, a retired key and its successor belong to one tenant, tier and scopes are known,
and it expires after it was made. For whole keys that are handed in, bcrypt and MAC are both worked out and compared
with the row: that proves the pair, and that the pepper is the one the keys were made with. It takes 64 ms each.
"""

import asyncio
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from aiservice.keys.model import SCOPES, TIERS, ApiKey
from aiservice.keys.pepper import MAC_LENGTH, MAC_VERSION, Peppers
from aiservice.keys.port import KeyStore
from aiservice.keys.secret import KID_LENGTH, parse

PAGE_ROWS = 500
_BCRYPT_FORM = re.compile(r"\$2b\$(\d\d)\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a stored key, or with one that was handed in. No key material."""

    kid: str
    key_id: str | None
    problem: str


async def audit(store: KeyStore, peppers: Peppers, *, bcrypt_cost: int, known: Collection[str]) -> list[Finding]:
    """All findings, by row; an empty list is a clean bill. Raises `StoreUnavailable`."""
    keys = await _all(store)
    findings = [Finding(key.kid, key.id, problem) for key in keys for problem in _problems(key, bcrypt_cost)]
    findings += _shared(keys)
    for text in known:
        findings += await _compared(text, store, peppers)
    return findings


async def _all(store: KeyStore) -> list[ApiKey]:
    keys: list[ApiKey] = []
    while rows := await store.page(tenant_id=None, cursor=keys[-1].id if keys else None, limit=PAGE_ROWS):
        keys += rows
    return keys


def _problems(key: ApiKey, bcrypt_cost: int) -> Iterator[str]:
    form = _BCRYPT_FORM.fullmatch(key.key_hash)
    if form is None:
        yield "key_hash is no bcrypt hash"
    elif int(form[1]) < bcrypt_cost:
        yield f"key_hash has cost {int(form[1])}, below the {bcrypt_cost} that is set; rotate the key"
    if key.mac_version != MAC_VERSION:
        yield f"key_mac has version {key.mac_version}, which is not read; rotate the key"
    if len(key.key_mac) != MAC_LENGTH:
        yield f"key_mac has {len(key.key_mac)} bytes, not {MAC_LENGTH}"
    if len(key.kid) != KID_LENGTH:
        yield f"kid has {len(key.kid)} characters, not {KID_LENGTH}"
    if key.tier not in TIERS:
        yield f"tier {key.tier!r} is unknown"
    if not key.scopes or not set(key.scopes) <= set(SCOPES):
        yield f"scopes {', '.join(key.scopes) or 'none'} are not all known"
    if key.expires_at_us < key.created_at_us:
        yield "it expires before it was made"


def _shared(keys: Sequence[ApiKey]) -> Iterator[Finding]:
    kids: set[str] = set()
    macs: set[bytes] = set()
    tenants: dict[str, str] = {}
    for key in keys:
        if key.kid in kids:
            yield Finding(key.kid, key.id, "another row has the same kid")
        if key.key_mac in macs:
            yield Finding(key.kid, key.id, "another row has the same key_mac")
        if tenants.setdefault(key.logical_id, key.tenant_id) != key.tenant_id:
            yield Finding(key.kid, key.id, "it shares its logical_id with a key of another tenant")
        kids.add(key.kid)
        macs.add(key.key_mac)


async def _compared(text: str, store: KeyStore, peppers: Peppers) -> list[Finding]:
    kid = parse(text)
    if kid is None:
        return [Finding("-", None, "a key that was handed in is malformed")]
    key = await store.by_kid(kid)
    if key is None:
        return [Finding(kid, None, "no row has this kid")]
    findings = []
    if not peppers.admits(text, key):
        findings.append(Finding(kid, key.id, "key_mac does not match the key: another key, or another pepper"))
    if _BCRYPT_FORM.fullmatch(key.key_hash) and not await asyncio.to_thread(peppers.matches_hash, text, key.key_hash):
        findings.append(Finding(kid, key.id, "key_hash does not match the key: another key, or another pepper"))
    return findings
