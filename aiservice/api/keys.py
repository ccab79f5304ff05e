"""/auth/*: keys are made, checked, listed, revoked and rotated."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from aiservice.api.asgi import request_headers
from aiservice.api.auth import Auth
from aiservice.api.fields import Label, Name, Quota, Uuid
from aiservice.api.guard import caller_of, guarded
from aiservice.api.refusals import may_raise
from aiservice.api.rooms import Rooms
from aiservice.core.errors import KeyUnknown, TooManyFailures
from aiservice.core.ids import iso_utc
from aiservice.core.settings import LimitSettings
from aiservice.keys import SCOPES_DEFAULT, ApiKey, Caller, KeyRequest, NewKey

Tier = Literal["free", "pro", "enterprise"]
Scope = Literal["generate", "sql", "nexus:read", "nexus:write", "nexus:deploy", "usage:read", "keys:write", "admin"]
Listed = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CreateKey(_Body):
    """What the new key shall be."""

    tenant_id: Name
    user_id: Name
    name: Label
    tier: Tier = "free"
    quota_requests_per_hour: Quota | None = None
    scopes: Annotated[list[Scope], Field(max_length=8)] = list(SCOPES_DEFAULT)
    models: Annotated[list[Listed], Field(max_length=100)] = []
    allowed_ips: Annotated[list[Listed], Field(max_length=100)] = []
    tokens_per_hour: Quota | None = None
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] = 365


class VerifyKey(_Body):
    """The key to check."""

    api_key: Annotated[str, StringConstraints(max_length=256)]


class RevokeKey(_Body):
    """The key to switch off."""

    key_id: Uuid


class RotateKey(_Body):
    """The key to replace; the old one works on for `overlap_seconds`."""

    key_id: Uuid
    overlap_seconds: Annotated[int, Field(ge=0, le=604_800)] = 0


class KeyFacts(BaseModel):
    """A key without its secret."""

    key_id: str
    tenant_id: str
    user_id: str | None
    name: str
    tier: Tier
    quota_requests_per_hour: int
    scopes: list[Scope]
    models: list[str]
    allowed_ips: list[str]
    tokens_per_hour: int | None
    concurrency: int | None
    is_active: bool
    created_at: str
    expires_at: str
    last_used_at: str | None


class CreatedKey(KeyFacts):
    """A new key; `api_key` is shown this once."""

    api_key: str


class KeyPage(BaseModel):
    """Some keys, newest first; `next_cursor` asks for the ones after them."""

    keys: list[KeyFacts]
    next_cursor: str | None


class KeyVerdict(BaseModel):
    """Whether a key is good, and if it is, its public facts."""

    valid: bool
    key_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    tier: Tier | None = None
    quota_requests_per_hour: int | None = None
    expires_at: str | None = None


class Revoked(BaseModel):
    """The key is off; every worker refuses it within a second."""

    key_id: str
    revoked: Literal[True] = True


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["keys"], route_class=guarded(rooms, Auth.key_manager))
    open_routes = APIRouter(tags=["keys"])
    settings = rooms.settings.limits

    @routes.post("/auth/create-key", status_code=201)
    async def create_key(body: CreateKey, request: Request) -> CreatedKey:
        """Makes a key. Needs the admin key, or a key of the same tenant with the scope keys:write."""
        return _created(await rooms.keys.create(_request_of(body), by=caller_of(request)), settings)

    @open_routes.post(
        "/auth/verify-key",
        response_model_exclude_none=True,
        responses=may_raise(TooManyFailures),
        openapi_extra={"security": []},
    )
    async def verify_key(body: VerifyKey, request: Request) -> KeyVerdict:
        """Says whether a key is good, and why not to nobody; uses nothing of its quota."""
        ip = rooms.auth.source_ip(request.scope, request_headers(request.scope))
        return _verdict(await rooms.keys.check(body.api_key, ip=ip), settings)

    @routes.get("/auth/keys")
    async def list_keys(
        request: Request,
        *,
        tenant_id: Annotated[Name | None, Query()] = None,
        cursor: Annotated[Uuid | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> KeyPage:
        """The keys of the caller's tenant, or with the admin key of any or all."""
        found = await rooms.keys.page(by=caller_of(request), tenant_id=tenant_id, cursor=cursor, limit=limit + 1)
        facts = [KeyFacts(**_facts(key, settings)) for key in found[:limit]]
        return KeyPage(keys=facts, next_cursor=facts[-1].key_id if len(found) > limit else None)

    @routes.post("/auth/revoke-key", responses=may_raise(KeyUnknown))
    async def revoke_key(body: RevokeKey, request: Request) -> Revoked:
        """Switches a key off for good."""
        await rooms.keys.revoke(body.key_id, by=caller_of(request))
        return Revoked(key_id=body.key_id)

    @routes.post("/auth/rotate-key", status_code=201, responses=may_raise(KeyUnknown))
    async def rotate_key(body: RotateKey, request: Request) -> CreatedKey:
        """Makes a new key with the old one's rights, limits and usage identity."""
        return _created(await rooms.keys.rotate(body.key_id, body.overlap_seconds, by=caller_of(request)), settings)

    routes.include_router(open_routes)
    return routes


def _request_of(body: CreateKey) -> KeyRequest:
    values = body.model_dump()
    for name in ("scopes", "models", "allowed_ips"):
        values[name] = tuple(values[name])
    return KeyRequest(**values)


def _facts(key: ApiKey, settings: LimitSettings) -> dict[str, Any]:
    return {
        "key_id": key.id,
        "tenant_id": key.tenant_id,
        "user_id": key.user_id,
        "name": key.name,
        "tier": key.tier,
        "quota_requests_per_hour": key.quota_requests_per_hour or settings.quota_of(key.tier),
        "scopes": list(key.scopes),
        "models": list(key.models),
        "allowed_ips": list(key.allowed_ips),
        "tokens_per_hour": key.tokens_per_hour,
        "concurrency": key.concurrency,
        "is_active": key.is_active,
        "created_at": iso_utc(key.created_at_us),
        "expires_at": iso_utc(key.expires_at_us),
        "last_used_at": None if key.last_used_at_us is None else iso_utc(key.last_used_at_us),
    }


def _created(new: NewKey, settings: LimitSettings) -> CreatedKey:
    return CreatedKey(api_key=new.secret, **_facts(new.key, settings))


def _verdict(caller: Caller | None, settings: LimitSettings) -> KeyVerdict:
    if caller is None:
        return KeyVerdict(valid=False)
    return KeyVerdict(
        valid=True,
        key_id=caller.key_id,
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        tier=caller.tier,
        quota_requests_per_hour=caller.quota_requests_per_hour or settings.quota_of(caller.tier),
        expires_at=iso_utc(caller.expires_at_us),
    )
