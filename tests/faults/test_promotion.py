"""The primary of PostgreSQL is lost and its standby takes over, or the standby is lost: each row is there once.

Known keys are served throughout; others, and the rows that wait, go on when there is a primary again.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.proxy import ProxyProcess, proxying
from tests.faults.trial import Trial, ask_once, seconds_until, trying
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import APP, OWNER, PASSWORDS, SUPERUSER, PostgresServer
from tests.servers.redis_server import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

BEFORE_S = 1.0
BACK_S = 10.0
READ_S_MAX = 3.0
DATABASE = "main"


@dataclass(frozen=True)
class Pair:
    """A primary and its standby, with the line between the two."""

    primary: PostgresServer
    standby: PostgresServer
    line: ProxyProcess

    def environ(self, *, has_replica: bool = False) -> dict[str, str]:
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        replica = {"POSTGRES_REPLICA_URL": self.standby.url(APP, DATABASE)} if has_replica else {}
        return {
            "POSTGRES_URL": f"postgresql://{APP}:{PASSWORDS[APP]}@{hosts}/{DATABASE}",
            "POSTGRES_OWNER_URL": f"postgresql://{OWNER}:{PASSWORDS[OWNER]}@{hosts}/{DATABASE}",
            **replica,
        }

    def count_rows(self, server: PostgresServer) -> int:
        return int(server.sql("select count(*) from ai_usage_logs", database=DATABASE))


@pytest.fixture
async def pair(postgres: PostgresBinaries, postgres_template: Path) -> AsyncIterator[Pair]:
    def start() -> PostgresServer:
        server = PostgresServer.start(postgres, template=postgres_template, is_durable=True)
        server.new_database(DATABASE)
        return server

    primary = await asyncio.to_thread(start)
    try:
        async with proxying(primary.port) as line:
            standby = await asyncio.to_thread(primary.replica, through_port=line.port)
            yield Pair(primary, standby, line)
            await asyncio.to_thread(standby.close)
    finally:
        await asyncio.to_thread(primary.close)


def make_synchronous(pair: Pair) -> None:
    pair.primary.set("synchronous_standby_names", "standby")
    until(lambda: pair.primary.sql("select sync_state from pg_stat_replication") == "sync", within_s=20)


async def taken_over(trial: Trial, pair: Pair, unseen: list[str]) -> float:
    """Kills the primary and promotes the standby; how long until keys that no worker knows are read there."""
    await asyncio.to_thread(pair.primary.kill)
    await pair.line.heal()
    assert {(await ask_once(trial.served, key)).status for key in unseen} == {503}
    await asyncio.to_thread(pair.standby.promote)

    async def is_back() -> bool:
        return {(await ask_once(trial.served, key)).status for key in unseen} == {200}

    back_s = await seconds_until(is_back, within_s=60)
    await asyncio.sleep(BEFORE_S)
    return back_s


async def check(trial: Trial, url: str, environ: dict[str, str], *, back_s: float) -> None:
    outcomes = trial.load.outcomes
    print(f"{len(outcomes)} requests; back after {back_s:.1f} s")  # noqa: T201 - the figures of a run
    assert {outcome.reply.status for outcome in outcomes} == {200}
    assert back_s < BACK_S
    assert await trial.faults(url, environ) == []


async def test_a_synchronous_standby_takes_over_with_every_row(tmp_path: Path, pair: Pair) -> None:
    await asyncio.to_thread(make_synchronous, pair)
    environ = pair.environ()
    async with trying(tmp_path, environ) as trial:
        unseen = [await trial.served.new_key() for _ in range(4)]
        await trial.make_known()
        back_s = await taken_over(trial, pair, unseen)
    await check(trial, pair.standby.url(SUPERUSER, DATABASE), environ, back_s=back_s)


async def test_rows_that_a_standby_never_got_are_shipped_to_it_again(tmp_path: Path, pair: Pair) -> None:
    """The primary says that they are committed, and dies before it has passed them on."""
    environ = pair.environ(has_replica=True)
    async with trying(tmp_path, environ) as trial:
        unseen = [await trial.served.new_key() for _ in range(4)]
        await trial.make_known()
        await pair.line.half_open()
        await asyncio.sleep(2 * BEFORE_S)
        counts = [await asyncio.to_thread(pair.count_rows, server) for server in (pair.primary, pair.standby)]
        assert counts[0] > counts[1] > 0
        back_s = await taken_over(trial, pair, unseen)
    await check(trial, pair.standby.url(SUPERUSER, DATABASE), environ, back_s=back_s)


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_without_the_standby_the_primary_is_read(tmp_path: Path, pair: Pair, way: str) -> None:
    environ = pair.environ(has_replica=True)
    async with trying(tmp_path, environ) as trial:
        metered = await trial.served.new_key()
        assert (await ask_once(trial.served, metered)).status == 200

        async def is_read() -> bool:
            return len((await trial.served.get("/usage/logs", **{"x-api-key": metered}))["logs"]) == 1

        await trial.make_known()
        await seconds_until(is_read, within_s=10)
        await asyncio.to_thread(pair.standby.kill if way == "killed" else pair.standby.freeze)
        slowest_s = 0.0
        for _ in range(20):
            began_s = time.monotonic()
            assert await is_read()
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        await asyncio.to_thread(pair.standby.start_again if way == "killed" else pair.standby.thaw)
        await asyncio.sleep(BEFORE_S)
    print(f"{way}: the slowest read {slowest_s:.2f} s")  # noqa: T201 - the figures of a run
    assert slowest_s < READ_S_MAX
    assert {outcome.reply.status for outcome in trial.load.outcomes} == {200}
    assert await trial.faults(pair.primary.url(SUPERUSER, DATABASE), environ) == []
