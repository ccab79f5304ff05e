"""The room's front: keys are made, rotated, revoked, listed and audited here, and admitted through `verify.py`."""

import asyncio
from collections.abc import Collection, Sequence

from aiservice.core.clock import Clock
from aiservice.core.errors import FieldInvalid, KeyRefused, KeyUnknown, NotAllowed
from aiservice.core.ids import is_uuid, uuid7
from aiservice.core.settings import KeySettings, LimitSettings
from aiservice.keys import grants
from aiservice.keys.audit import Finding, audit
from aiservice.keys.model import (
    ADMIN_CALLER,
    FIRST_ADMIN_KEY,
    FIRST_KEY,
    ApiKey,
    Caller,
    KeyRequest,
    NewKey,
)
from aiservice.keys.pepper import MAC_VERSION, Peppers
from aiservice.keys.port import KeyStore
from aiservice.keys.secret import make, parse
from aiservice.keys.verify import Verifier
from aiservice.stores.bell import Bell, SilentBell

DAY_US = 86_400_000_000


class Keys:
    """API keys of one process. `watch` must run beside it as long as it admits keys.

    `cached`, `verify`, `verify_admin`, `check` and `is_revoked` are those of `Verifier`, without a step between;
    `watch` (until it is cancelled), `poll` (once) and `flush` (writes last_used_at) are those of `Watch`.
    """

    def __init__(
        self,
        store: KeyStore,
        settings: KeySettings,
        limits: LimitSettings,
        *,
        pepper: bytes,
        clock: Clock,
        bell: Bell | None = None,
    ) -> None:
        """`bell` carries word of changes to the other processes; without one they find them by their polls."""
        self._store = store
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self._peppers = Peppers(pepper)
        verifier = Verifier(store, settings, peppers=self._peppers, clock=clock, bell=bell or SilentBell())
        self._watch = verifier.watch
        self.cached = verifier.cached
        self.verify = verifier.verify
        self.verify_admin = verifier.verify_admin
        self.check = verifier.check
        self.is_revoked = verifier.is_revoked
        self.watch = self._watch.run
        self.poll = self._watch.poll
        self.flush = self._watch.flush

    @property
    def may_admit(self) -> bool:
        """Whether any key can be let in now, in this process."""
        return self._watch.may_admit

    async def create(self, request: KeyRequest, *, by: Caller) -> NewKey:
        """Makes a key. Raises `FieldInvalid`, `StoreUnavailable`, and `NotAllowed` for more than the caller may give.

        The operator may make any key. A key with the scope keys:write makes keys of its own tenant, up to its own tier,
        quota, scopes, models and addresses; its token and concurrency limits pass on.
        """
        request = await self._granted(grants.checked(request), by)
        now_us = self._clock.now_us()
        key_id = uuid7(now_us)
        new = await self._make(
            request,
            key_id=key_id,
            logical_id=key_id,
            now_us=now_us,
            expires_at_us=now_us + request.expires_in_days * DAY_US,
        )
        await self._store.add(new.key)
        self._watch.tell()
        return new

    async def rotate(self, key_id: str, overlap_seconds: int = 0, *, by: Caller) -> NewKey:
        """Makes a key with the rights, lifetime and logical id of an old one, which works on for the overlap.

        `overlap_seconds` 0..604800; the old key never lives longer than it would have. Raises `KeyUnknown` for a key
        that is not the caller's to see or is not good any more, `NotAllowed`, `FieldInvalid`, `StoreUnavailable`.
        """
        grants.check_overlap(overlap_seconds)
        old = await self._visible(key_id, by)
        now_us = self._clock.now_us()
        if not old.is_good_at(now_us):
            raise KeyUnknown
        request = _request_of(old)
        if by.is_local:
            self._refuse_admin_key(old, by)
        elif not by.is_admin:
            grants.check_not_above(request, by=by, parent=await self._parent(by), limits=self._limits)
        new = await self._make(
            request,
            key_id=uuid7(now_us),
            logical_id=old.logical_id,
            now_us=now_us,
            expires_at_us=now_us + old.expires_at_us - old.created_at_us,
        )
        await self._store.add(new.key, retire_id=old.id, retire_at_us=now_us + overlap_seconds * 1_000_000)
        if overlap_seconds == 0:
            self._watch.gone({old.kid: old.id})
        else:
            self._watch.changed(old.kid)
        self._watch.tell()
        return new

    async def revoke(self, key_id: str, *, by: Caller) -> None:
        """Switches a key off for good; a key that is off stays so. Every process refuses it within a second.

        Raises `KeyUnknown` for a key that is not the caller's to see, `NotAllowed` for an operator's key,
        `StoreUnavailable`.
        """
        key = await self._visible(key_id, by)
        self._refuse_admin_key(key, by)
        await self._store.revoke(key.id, now_us=self._clock.now_us())
        self._watch.gone({key.kid: key.id})
        self._watch.tell()

    async def page(
        self, *, by: Caller, tenant_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Sequence[ApiKey]:
        """Up to `limit` keys with an id below the cursor, newest first: the caller's tenant's, for the operator all.

        Raises `NotAllowed` when another tenant is named, `FieldInvalid` for a cursor that is no key id.
        """
        _check_may_manage(by)
        if cursor is not None and not is_uuid(cursor):
            raise FieldInvalid("cursor takes the id of the last key of the page before.", param="cursor")
        if not by.is_admin:
            if tenant_id not in (None, by.tenant_id):
                raise NotAllowed(f"This key may list keys of its own tenant only, {by.tenant_id}.")
            tenant_id = by.tenant_id
        return await self._store.page(tenant_id=tenant_id, cursor=cursor and cursor.lower(), limit=limit)

    async def count_active(self) -> int:
        """Keys that are neither revoked nor expired."""
        return await self._store.count_active(now_us=self._clock.now_us())

    async def bootstrap(self) -> tuple[NewKey, NewKey] | None:
        """The first key and the first admin key, made where there is no key at all; else None."""
        if await self._store.page(tenant_id=None, cursor=None, limit=1):
            return None
        return await self.create(FIRST_KEY, by=ADMIN_CALLER), await self.create(FIRST_ADMIN_KEY, by=ADMIN_CALLER)

    async def audit(self, known: Collection[str] = ()) -> list[Finding]:
        """What is wrong with the stored keys, see `audit.py`; `known` are whole keys whose hashes are checked too."""
        return await audit(self._store, self._peppers, bcrypt_cost=self._settings.bcrypt_cost, known=known)

    async def _granted(self, request: KeyRequest, by: Caller) -> KeyRequest:
        _check_may_manage(by)
        if by.is_admin:
            return request
        if by.is_local:
            grants.check_local(request)
            return request
        return grants.check_within(request, by=by, parent=await self._parent(by), limits=self._limits)

    async def _parent(self, by: Caller) -> ApiKey:
        """The caller's own row, read now: a key that was revoked a moment ago makes no more keys."""
        parent = await self._store.by_id(by.key_id)
        if parent is None or not parent.is_good_at(self._clock.now_us()):
            raise KeyRefused
        return parent

    async def _visible(self, key_id: str, by: Caller) -> ApiKey:
        _check_may_manage(by)
        key = await self._store.by_id(key_id.lower()) if is_uuid(key_id) else None
        if key is None or not (by.is_admin or key.tenant_id == by.tenant_id):
            raise KeyUnknown
        return key

    async def _make(
        self, request: KeyRequest, *, key_id: str, logical_id: str, now_us: int, expires_at_us: int
    ) -> NewKey:
        secret = make(is_admin="admin" in request.scopes)
        kid = parse(secret)
        assert kid is not None
        key_hash = await asyncio.to_thread(self._peppers.hash, secret, cost=self._settings.bcrypt_cost)
        key = ApiKey(
            id=key_id,
            logical_id=logical_id,
            kid=kid,
            tenant_id=request.tenant_id,
            user_id=request.user_id,
            name=request.name,
            key_hash=key_hash,
            key_mac=self._peppers.mac(secret),
            mac_version=MAC_VERSION,
            tier=request.tier,
            scopes=request.scopes,
            models=request.models,
            allowed_ips=request.allowed_ips,
            quota_requests_per_hour=request.quota_requests_per_hour,
            tokens_per_hour=request.tokens_per_hour,
            concurrency=request.concurrency,
            is_active=True,
            created_at_us=now_us,
            expires_at_us=expires_at_us,
        )
        return NewKey(secret=secret, key=key)

    def _refuse_admin_key(self, key: ApiKey, by: Caller) -> None:
        if "admin" in key.scopes and not by.is_admin:
            raise NotAllowed("A key with the scope admin is handled with the admin key only.")


def _check_may_manage(by: Caller) -> None:
    if "keys:write" not in by.scopes and not by.is_admin:
        raise NotAllowed("This key lacks the scope keys:write.")


def _request_of(key: ApiKey) -> KeyRequest:
    return KeyRequest(
        tenant_id=key.tenant_id,
        user_id=key.user_id,
        name=key.name,
        tier=key.tier,
        scopes=key.scopes,
        models=key.models,
        allowed_ips=key.allowed_ips,
        quota_requests_per_hour=key.quota_requests_per_hour,
        tokens_per_hour=key.tokens_per_hour,
        concurrency=key.concurrency,
    )
