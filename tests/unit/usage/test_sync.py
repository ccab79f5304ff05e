"""What is durable, and when."""

import asyncio
import os

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.usage.model import LedgerCounts
from aiservice.usage.sync import SpoolSync


@pytest.fixture
def counts() -> LedgerCounts:
    return LedgerCounts()


@pytest.fixture
def sync(spool, counts) -> SpoolSync:
    return SpoolSync(spool, counts)


async def test_reach_covers_what_was_appended(sync, spool, make_record):
    assert not sync.is_dirty
    spool.append_end(make_record())
    assert sync.is_dirty

    await sync.reach(spool.seq)

    assert not sync.is_dirty


async def test_waiters_share_a_sync(sync, spool, make_record):
    seqs = []
    for _ in range(20):
        spool.append_end(make_record())
        seqs.append(spool.seq)

    await asyncio.gather(*map(sync.reach, seqs))

    # The first of them covers all; none of the others took what a sync takes with it.
    assert spool.unsynced().folder is None


async def test_retired_files_are_synced_and_closed(sync, spool, make_record):
    spool.append_end(make_record())
    retired = spool.current.descriptor
    spool.rotate()
    spool.append_end(make_record())

    await sync.reach(spool.seq)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(retired)
    os.fstat(spool.current.descriptor)


async def test_a_disk_that_fails_is_said_and_the_spool_goes_on_in_a_new_file(sync, spool, counts, make_record):
    spool.append_end(make_record())
    broken, writable = os.pipe()
    os.dup2(writable, spool.current.descriptor)  # a pipe cannot be synced

    with pytest.raises(StoreUnavailable, match="store"):
        await sync.reach(spool.seq)

    assert counts.sync_failures == 1
    assert len(spool.files) == 2
    assert sync.is_dirty
    os.close(broken)
    os.close(writable)


async def test_a_cancelled_sync_runs_to_its_end(sync, spool, make_record):
    spool.append_end(make_record())
    retired = spool.current.descriptor
    spool.rotate()
    spool.append_end(make_record())
    work = asyncio.create_task(sync.reach(spool.seq))
    await asyncio.sleep(0)
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(retired)
