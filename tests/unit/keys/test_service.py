"""Keys made, rotated, revoked and listed, and by whom."""

from dataclasses import replace

import pytest

from aiservice.core.errors import FieldInvalid, KeyRefused, KeyUnknown, NotAllowed
from aiservice.keys import ADMIN_CALLER, LOCAL_CALLER, KeyRequest
from aiservice.keys.model import caller_of

IP = "192.0.2.7"
DAY_US = 86_400_000_000
ASKED = KeyRequest(tenant_id="acme", user_id="ann", name="a key", scopes=("generate",))


async def test_a_new_key_is_good_at_once(keys, store, clock):
    new = await keys.create(replace(ASKED, tier="enterprise", expires_in_days=7, tokens_per_hour=5), by=ADMIN_CALLER)

    assert await store.by_id(new.key.id) == new.key
    assert new.secret not in repr(new.key)
    assert new.key.logical_id == new.key.id
    assert new.key.expires_at_us == clock.now_us() + 7 * DAY_US
    assert (new.key.tier, new.key.tokens_per_hour) == ("enterprise", 5)
    assert await keys.verify(new.secret, ip=IP) == caller_of(new.key)


async def test_only_an_operator_s_key_has_its_prefix(keys):
    plain = await keys.create(ASKED, by=ADMIN_CALLER)
    operator = await keys.create(replace(ASKED, scopes=("admin",)), by=ADMIN_CALLER)

    assert plain.secret.startswith("vpn_")
    assert operator.secret.startswith("vpnadm_")


async def test_a_tenant_s_key_makes_keys_of_its_tenant(keys, add):
    _, parent = await add(concurrency=2)

    new = await keys.create(ASKED, by=caller_of(parent))

    assert (new.key.tenant_id, new.key.concurrency) == ("acme", 2)
    with pytest.raises(NotAllowed):
        await keys.create(replace(ASKED, tenant_id="other"), by=caller_of(parent))


async def test_a_key_without_the_scope_manages_no_keys(keys, add):
    _, key = await add(scopes=("generate",))
    by = caller_of(key)

    calls = (
        lambda: keys.create(ASKED, by=by),
        lambda: keys.rotate(key.id, by=by),
        lambda: keys.revoke(key.id, by=by),
        lambda: keys.page(by=by),
    )
    for call in calls:
        with pytest.raises(NotAllowed, match="keys:write"):
            await call()


async def test_a_key_that_was_revoked_makes_no_more(keys, store, add, clock):
    """Its caller may still be in the hands of a request that is under way."""
    _, parent = await add()
    await store.revoke(parent.id, now_us=clock.now_us())

    with pytest.raises(KeyRefused):
        await keys.create(ASKED, by=caller_of(parent))


async def test_development_makes_keys_for_any_tenant(keys):
    new = await keys.create(replace(ASKED, tenant_id="other", tier="enterprise"), by=LOCAL_CALLER)

    assert new.key.tenant_id == "other"
    with pytest.raises(NotAllowed):
        await keys.create(replace(ASKED, scopes=("admin",)), by=LOCAL_CALLER)
    with pytest.raises(KeyUnknown):
        await keys.revoke(new.key.id, by=LOCAL_CALLER)


async def test_a_refused_request_stores_nothing(keys, store):
    with pytest.raises(FieldInvalid):
        await keys.create(replace(ASKED, name=""), by=ADMIN_CALLER)

    assert await store.page(tenant_id=None, cursor=None, limit=1) == []


async def test_rotation_keeps_everything_but_the_key(keys, store, add, clock):
    text, old = await add(models=("a",), quota_requests_per_hour=7, tokens_per_hour=8, concurrency=9)
    clock.advance_s(86_400)

    new = await keys.rotate(old.id, 3_600, by=caller_of(old))

    kept = {"logical_id", "tenant_id", "user_id", "name", "tier", "scopes", "models", "allowed_ips"}
    kept |= {"quota_requests_per_hour", "tokens_per_hour", "concurrency"}
    assert {name: getattr(new.key, name) for name in kept} == {name: getattr(old, name) for name in kept}
    assert new.key.expires_at_us - new.key.created_at_us == old.expires_at_us - old.created_at_us
    assert (await store.by_id(old.id)).expires_at_us == clock.now_us() + 3_600_000_000
    for secret in (text, new.secret):
        assert (await keys.verify(secret, ip=IP)).logical_id == old.logical_id


async def test_the_old_key_ends_with_the_overlap(keys, add, clock):
    text, old = await add()
    await keys.verify(text, ip=IP)

    await keys.rotate(old.id, 10, by=ADMIN_CALLER)

    assert keys.cached(text, ip=IP) is None
    caller = await keys.verify(text, ip=IP)
    assert not keys.is_revoked(caller)
    clock.advance_s(10)
    assert keys.cached(text, ip=IP) is None
    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)


async def test_without_an_overlap_the_old_key_ends_at_once(keys, add):
    text, old = await add()
    caller = await keys.verify(text, ip=IP)

    await keys.rotate(old.id, by=ADMIN_CALLER)

    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)
    assert keys.is_revoked(caller)
    with pytest.raises(KeyUnknown):
        await keys.rotate(old.id, by=ADMIN_CALLER)


async def test_a_stronger_key_of_the_tenant_is_not_rotated_into_one_s_own_hands(keys, add):
    _, weak = await add(tier="free")
    _, strong = await add(tier="enterprise")
    _, unlimited = await add(tier="free")
    _, limited = await add(tier="free", tokens_per_hour=10)

    with pytest.raises(NotAllowed, match="own tier"):
        await keys.rotate(strong.id, by=caller_of(weak))
    with pytest.raises(NotAllowed, match="tokens"):
        await keys.rotate(unlimited.id, by=caller_of(limited))
    assert await keys.rotate(limited.id, by=caller_of(limited))


async def test_revocation_is_at_once_and_for_good(keys, add):
    text, key = await add()
    caller = await keys.verify(text, ip=IP)

    await keys.revoke(key.id.upper(), by=caller)
    await keys.revoke(key.id, by=ADMIN_CALLER)

    assert keys.cached(text, ip=IP) is None
    assert keys.is_revoked(caller)
    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)


async def test_another_tenant_s_key_is_unknown(keys, store, add):
    _, mine = await add()
    _, theirs = await add(tenant_id="other")
    by = caller_of(mine)

    for key_id in (theirs.id, "00000000-0000-7000-8000-000000000000", "no id"):
        with pytest.raises(KeyUnknown):
            await keys.revoke(key_id, by=by)
        with pytest.raises(KeyUnknown):
            await keys.rotate(key_id, by=by)
    assert await store.by_id(theirs.id) == theirs


async def test_an_operator_s_key_in_a_tenant_is_out_of_the_tenant_s_reach(keys, store, add):
    _, mine = await add()
    _, operator = await add(scopes=("admin",))

    with pytest.raises(NotAllowed):
        await keys.revoke(operator.id, by=caller_of(mine))
    with pytest.raises(NotAllowed):
        await keys.rotate(operator.id, by=caller_of(mine))
    assert await store.by_id(operator.id) == operator


async def test_development_rotates_no_operator_s_key(keys, add):
    _, operator = await add(tenant_id="local", scopes=("admin",))

    with pytest.raises(NotAllowed):
        await keys.rotate(operator.id, by=LOCAL_CALLER)


async def test_pages_show_a_tenant_its_own_and_the_operator_all(keys, add, clock):
    rows = []
    for tenant_id in ("acme", "other", "acme"):
        clock.advance_s(1)
        rows.append((await add(tenant_id=tenant_id))[1])
    by = caller_of(rows[0])

    assert await keys.page(by=by) == [rows[2], rows[0]]
    assert await keys.page(by=by, tenant_id="acme", limit=1) == [rows[2]]
    assert await keys.page(by=by, cursor=rows[2].id.upper()) == [rows[0]]
    assert await keys.page(by=ADMIN_CALLER) == rows[::-1]
    assert await keys.page(by=ADMIN_CALLER, tenant_id="other") == [rows[1]]
    with pytest.raises(NotAllowed, match="own tenant only"):
        await keys.page(by=by, tenant_id="other")
    with pytest.raises(FieldInvalid) as caught:
        await keys.page(by=by, cursor="1")
    assert caught.value.param == "cursor"


async def test_a_first_key_and_a_first_admin_key_are_made_once(keys):
    made = await keys.bootstrap()

    assert made is not None
    first, admin = made
    assert (await keys.verify(first.secret, ip=IP)).tenant_id == "local"
    assert (await keys.verify_admin(admin.secret, ip=IP)).is_admin
    assert await keys.count_active() == 2
    assert await keys.bootstrap() is None
    assert await keys.count_active() == 2
