"""`aiservice keys audit` finds each kind of row that this service would not have written."""

import pytest

from aiservice.core.settings import KeySettings, LimitSettings
from aiservice.keys import ADMIN_CALLER, KeyRequest, Keys
from aiservice.keys.secret import make

ASKED = KeyRequest(tenant_id="acme", user_id=None, name="a key")


async def test_what_the_service_wrote_is_clean(keys, add):
    new = await keys.create(ASKED, by=ADMIN_CALLER)
    newer = await keys.rotate(new.key.id, 60, by=ADMIN_CALLER)

    assert await keys.audit() == []
    assert await keys.audit([new.secret, newer.secret]) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key_hash": "plain"}, "no bcrypt hash"),
        ({"key_hash": "$2b$04$" + "a" * 53}, "cost 4, below the 10"),
        ({"mac_version": 9}, "version 9"),
        ({"key_mac": b"short"}, "5 bytes"),
        ({"kid": "short"}, "5 characters"),
        ({"tier": "gold"}, "'gold' is unknown"),
        ({"scopes": ("root",)}, "root are not all known"),
        ({"scopes": ()}, "none are not all known"),
        ({"expires_at_us": 0}, "expires before"),
    ],
)
async def test_a_malformed_row_is_found(keys, add, changes: dict[str, object], problem: str):
    await add()
    _, key = await add(**changes)

    (finding,) = await keys.audit()

    assert (finding.kid, finding.key_id) == (key.kid, key.id)
    assert problem in finding.problem


async def test_rows_that_share_what_must_be_their_own_are_found(keys, add):
    _, key = await add()
    await add(kid=key.kid, key_mac=key.key_mac, logical_id=key.logical_id, tenant_id="other")

    problems = [finding.problem for finding in await keys.audit()]

    assert len(problems) == 3
    assert [word for word in ("same kid", "same key_mac", "another tenant") if word not in " ".join(problems)] == []


async def test_another_pepper_is_found(keys, store, clock):
    new = await keys.create(ASKED, by=ADMIN_CALLER)
    restored = Keys(store, KeySettings(), LimitSettings(), pepper=b"q" * 32, clock=clock)

    problems = [finding.problem for finding in await restored.audit([new.secret])]

    assert len(problems) == 2
    assert all("another pepper" in problem for problem in problems)


async def test_keys_without_a_row_are_found(keys):
    findings = await keys.audit(["nonsense", make()])

    assert ["malformed" in finding.problem for finding in findings] == [True, False]
    assert findings[1].problem == "no row has this kid"
