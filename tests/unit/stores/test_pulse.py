"""Whether a database answers, without asking it in a request."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.settings import Settings
from aiservice.stores.databases import MAIN_FILE, open_main
from aiservice.stores.migrate import upgrade
from aiservice.stores.pulse import LATE_S, Pulse
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import PostgresServer
from tests.settings import embedded_in


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def pulse(tmp_path: Path, clock: ManualClock):
    upgrade(embedded_in(tmp_path))
    engine = open_main(embedded_in(tmp_path))
    yield Pulse(engine, clock)
    await engine.dispose()


async def test_before_the_first_answer_it_counts_as_up(pulse: Pulse) -> None:
    assert (pulse.is_up, pulse.failures) == (True, 0)
    await pulse.beat()
    assert (pulse.is_up, pulse.failures) == (True, 0)


async def test_a_question_without_an_answer_is_down_and_counted(pulse: Pulse, tmp_path: Path) -> None:
    (tmp_path / MAIN_FILE).rename(tmp_path / "gone")
    (tmp_path / MAIN_FILE).mkdir()
    await pulse.beat()
    await pulse.beat()
    assert (pulse.is_up, pulse.failures) == (False, 2)
    (tmp_path / MAIN_FILE).rmdir()
    (tmp_path / "gone").rename(tmp_path / MAIN_FILE)
    await pulse.beat()
    assert (pulse.is_up, pulse.failures) == (True, 2)


async def test_a_database_of_another_form_is_down(pulse: Pulse, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as database:
        database.execute("drop table auth_events")
    await pulse.beat()
    assert (pulse.is_up, pulse.failures) == (False, 1)


async def test_it_is_asked_again_and_again(pulse: Pulse, tmp_path: Path) -> None:
    beating = asyncio.create_task(pulse.run(beat_s=0.001))
    (tmp_path / MAIN_FILE).rename(tmp_path / "gone")
    (tmp_path / MAIN_FILE).mkdir()
    async with asyncio.timeout(5):
        while pulse.failures < 3:
            await asyncio.sleep(0.001)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert beating.cancelled()


@pytest.mark.stores
async def test_a_frozen_server_is_down_after_a_second_and_up_when_it_answers(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path, clock: ManualClock
) -> None:
    with PostgresServer.start(postgres, template=postgres_template) as server:
        settings = settings_on(server, tmp_path)
        upgrade(settings)
        engine = open_main(settings)
        pulse = Pulse(engine, clock)
        await pulse.beat()
        assert pulse.is_up
        server.freeze()
        asking = asyncio.create_task(pulse.beat())
        await asyncio.sleep(0.05)
        clock.advance_s(LATE_S)
        assert pulse.is_up
        clock.advance_s(0.1)
        assert not pulse.is_up
        server.thaw()
        await asking
        assert (pulse.is_up, pulse.failures) == (True, 0)
        assert pulse.latency_s == pytest.approx(LATE_S + 0.1)
        await engine.dispose()


def settings_on(server: PostgresServer, data_dir: Path) -> Settings:
    urls = server.new_database()
    return embedded_in(data_dir).model_copy(
        update={"stores": Settings().stores.model_copy(update={"postgres_url": urls.owner})}
    )
