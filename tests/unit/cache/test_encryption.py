"""With CACHE_ENCRYPTION no answer lies readable on the disk, and what was kept the other way is a miss."""

import logging

import pytest

from tests.unit.cache.workers import ANSWER, KEY, Workers, key, saying

TEXT = "the launch code is sixteen tulips"


def on_disk(workers: Workers) -> bytes:
    files = sorted(workers.path.parent.glob("cache.db*"))
    assert {"cache.db", "cache.db-wal", "cache.db-stamps"} <= {file.name for file in files}
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_the_plain_text_is_nowhere_on_the_disk(workers: Workers, is_encrypted: bool) -> None:
    cache = workers.start(is_encrypted=is_encrypted)
    for number in range(50):
        await cache.put(key(number), saying(f"{TEXT}: {number}"))
    for number in range(50):
        entry = await cache.get(key(number))
        assert entry is not None
        assert entry.completion.choices[0].text == f"{TEXT}: {number}"
    assert (TEXT.encode() not in on_disk(workers)) == is_encrypted, "the search itself finds what is there"
    workers.sql("pragma wal_checkpoint(truncate)")
    assert (TEXT.encode() not in workers.path.read_bytes()) == is_encrypted


@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_an_entry_of_the_other_mode_is_a_miss(
    workers: Workers, is_encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await workers.start(is_encrypted=not is_encrypted).put(KEY, ANSWER)
    cache = workers.start(is_encrypted=is_encrypted)
    with caplog.at_level(logging.WARNING):
        assert await cache.get(KEY) is None
    assert "is dropped" in caplog.text
    assert workers.sql("select count(*) from ai_cache") == [(0,)]
    await cache.put(KEY, ANSWER)
    assert await cache.get(KEY) is not None


@pytest.mark.parametrize(
    "change",
    [
        "update ai_cache set response_data = zeroblob(length(response_data))",
        "update ai_cache set response_data = x''",
        "update ai_cache set mac = zeroblob(12)",
        "update ai_cache set expires_at = expires_at + 1",
        "update ai_cache set response_data = (select response_data from ai_cache where tenant_id = 'other')",
    ],
)
async def test_a_changed_entry_is_a_miss_and_leaves(workers: Workers, change: str) -> None:
    cache = workers.start(is_encrypted=True)
    await cache.put(key(1, "other"), saying("another tenant's"))
    await cache.put(KEY, ANSWER)
    workers.sql(f"{change} where tenant_id = 'acme'")
    assert await cache.get(KEY) is None
    assert workers.sql("select tenant_id from ai_cache") == [("other",)]
    assert await cache.get(key(1, "other")) is not None
