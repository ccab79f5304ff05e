"""Every DatabaseStore gives the same answers, and what is kept in it is sealed."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import DatabaseDown, DatabaseUnknown, FieldInvalid, StoreUnavailable
from aiservice.sqlassist.databases import Databases, DatabaseStore, Registered
from aiservice.sqlassist.databases.memory import MemoryDatabaseStore
from aiservice.sqlassist.databases.sql import SqlDatabaseStore
from aiservice.stores.databases import open_main
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, broken

URL = "postgresql://reader:secret@db.example/shop"


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, engine_on: EngineOn) -> DatabaseStore:
    return MemoryDatabaseStore() if request.param == "memory" else SqlDatabaseStore(await engine_on(request.param))


@pytest.fixture
def databases(store: DatabaseStore) -> Databases:
    return Databases(store, secret=b"s" * 32, clock=ManualClock())


async def test_rows_by_tenant_and_name(store: DatabaseStore):
    row = Registered("acme", "shop", b"sealed", 1_750_000_000_000_000)
    await store.put(row)
    await store.put(Registered("acme", "archive", b"other", 1_750_000_000_000_001))
    await store.put(Registered("other", "shop", b"theirs", 1_750_000_000_000_002))
    assert await store.find("acme", "shop") == row
    assert await store.find("acme", "nowhere") is None
    assert [found.name for found in await store.list("acme")] == ["archive", "shop"]
    assert await store.list("nobody") == []
    again = Registered("acme", "shop", b"sealed anew", 1_750_000_000_000_003)
    await store.put(again)
    assert await store.find("acme", "shop") == again
    assert await store.remove("acme", "shop")
    assert not await store.remove("acme", "shop")
    assert await store.find("other", "shop") is not None


async def test_an_address_is_sealed_for_its_tenant_and_name(databases: Databases, store: DatabaseStore):
    row = await databases.add("acme", "shop", URL)
    assert b"secret" not in row.sealed_url
    target = await databases.target("acme", "shop")
    assert (target.name, target.url, target.dialect) == ("shop", URL, "postgres")
    assert "secret" not in repr(target)
    with pytest.raises(DatabaseUnknown):
        await databases.target("other", "shop")
    await store.put(Registered("other", "shop", row.sealed_url, row.created_at_us))
    with pytest.raises(DatabaseDown, match="register it again"):
        await databases.target("other", "shop")
    with pytest.raises(DatabaseDown):
        await Databases(store, secret=b"t" * 32, clock=ManualClock()).target("acme", "shop")


async def test_a_database_is_forgotten(databases: Databases):
    await databases.add("acme", "shop", "sqlite:///some/file.sqlite")
    assert [row.name for row in await databases.list("acme")] == ["shop"]
    await databases.remove("acme", "shop")
    with pytest.raises(DatabaseUnknown):
        await databases.remove("acme", "shop")


@pytest.mark.parametrize(
    ("name", "url", "param"),
    [
        ("Shop", URL, "name"),
        ("", URL, "name"),
        ("a" * 65, URL, "name"),
        ("../x", URL, "name"),
        ("shop", "http://db.example", "url"),
        ("shop", "file:///etc/passwd", "url"),
        ("shop", "postgresql://" + "x" * 2_000, "url"),
    ],
)
async def test_odd_names_and_addresses_are_refused(name: str, url: str, param: str):
    databases = Databases(MemoryDatabaseStore(), secret=b"s" * 32, clock=ManualClock())
    with pytest.raises(FieldInvalid) as invalid:
        await databases.add("acme", name, url)
    assert invalid.value.param == param


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_that_cannot_be_used_is_said(fault: str, tmp_path: Path):
    engine: AsyncEngine = open_main(broken(fault, tmp_path))
    store = SqlDatabaseStore(engine)
    row = Registered("acme", "shop", b"sealed", 1)
    for call in (store.put(row), store.find("acme", "shop"), store.list("acme"), store.remove("acme", "shop")):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
