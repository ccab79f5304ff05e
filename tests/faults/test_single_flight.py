"""Equal requests at once, over four workers: one of them reaches the engine, whoever is killed, leaves or fails."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.books import LOST, read_rows
from tests.faults.client import Connection, Reply, post
from tests.faults.serving import Served, serving
from tests.faults.sockets import all_accepted, connected_by
from tests.faults.witness import Witness, witnessing
from tests.servers.witness_engine import prompt_tokens, words

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

PATH = "/ai/generate"
WORKERS = 4
CROWD = 1_000
WORDS = 20
# 20 words, one every 100 ms: every answer takes the engine two seconds.
ASK: dict[str, Any] = {"model": "paced-100", "prompt": "request 7 to be answered", "max_tokens": WORDS}
STREAM = ASK | {"stream": True}
TEXT = "".join(words(7, WORDS))
TOKENS = prompt_tokens(ASK["prompt"]) + WORDS


@dataclass(frozen=True)
class Stage:
    """The service, the engine behind it, and a key."""

    served: Served
    witness: Witness
    key: str

    def request(self, body: dict[str, Any]) -> bytes:
        return post(PATH, self.key, body)

    async def crowd(self, count: int) -> "Crowd":
        """So many open connections, and which worker has accepted which."""
        connections = list(await asyncio.gather(*(Connection.to(self.served.port) for _ in range(count))))
        ports = {connection.port for connection in connections}
        owners = await all_accepted(self.served.workers(), self.served.port, ports)
        return Crowd(connections, [owners[connection.port] for connection in connections])

    async def spread(self, each: int) -> "Crowd":
        """As many open connections to every worker; who accepts a connection is chance, so some are closed again."""
        held: dict[int, list[Connection]] = {worker: [] for worker in self.served.workers()}
        while any(len(connections) < each for connections in held.values()):
            crowd = await self.crowd(each)
            for connection, worker in zip(crowd.connections, crowd.workers, strict=True):
                if len(held[worker]) < each:
                    held[worker].append(connection)
                else:
                    connection.close()
        pairs = [(connection, worker) for worker, connections in held.items() for connection in connections]
        return Crowd([connection for connection, _ in pairs], [worker for _, worker in pairs])

    async def leader(self, call: int = 0) -> int:
        """The worker that has made the engine's call of this number."""
        calls = await self.witness.called(call + 1)
        return connected_by(self.served.workers(), self.witness.port)[calls[call].port]


@dataclass(frozen=True)
class Crowd:
    """Connections and, for each, the worker at its other end."""

    connections: Sequence[Connection]
    workers: Sequence[int]

    def of(self, worker: int) -> list[Connection]:
        return [connection for connection, owner in self._pairs() if owner == worker]

    def beside(self, worker: int) -> list[Connection]:
        return [connection for connection, owner in self._pairs() if owner != worker]

    def ask(self, request: bytes) -> list[asyncio.Task[Reply]]:
        return [asyncio.create_task(connection.ask(request)) for connection in self.connections]

    def _pairs(self) -> list[tuple[Connection, int]]:
        return list(zip(self.connections, self.workers, strict=True))


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    data_dir = folder / "data"
    data_dir.mkdir()
    async with (
        witnessing(folder) as witness,
        serving(data_dir, WORKERS=str(WORKERS), OPENAI_BASE_URL=witness.url) as served,
    ):
        yield Stage(served, witness, await served.new_key())


async def replies_of(tasks: Sequence[asyncio.Task[Reply]], *, within_s: float) -> list[Reply]:
    async with asyncio.timeout(within_s):
        return list(await asyncio.gather(*tasks))


def states(replies: Sequence[Reply]) -> Counter[tuple[int, str | None]]:
    return Counter((reply.status, reply.headers.get("x-cache")) for reply in replies)


def texts(replies: Sequence[Reply]) -> set[str]:
    return {reply.text for reply in replies}


def booked(data_dir: Path) -> Counter[tuple[int, int, int]]:
    """How many rows have which status, tokens and tokens saved."""
    rows = read_rows(data_dir)
    return Counter((row.status, row.prompt_tokens + row.completion_tokens, row.tokens_saved) for row in rows)


async def test_a_thousand_equal_requests_over_four_workers_reach_the_engine_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.crowd(CROWD)
        assert len(set(crowd.workers)) == WORKERS
        replies = await replies_of(crowd.ask(stage.request(ASK)), within_s=20)
        assert states(replies) == {(200, "MISS"): 1, (200, "HIT"): CROWD - 1}
        assert texts(replies) == {TEXT}
        assert {str(reply.end["usage"]) for reply in replies} == {str(replies[0].end["usage"])}
        assert len(stage.witness.calls()) == 1
    assert booked(stage.served.data_dir) == {(200, TOKENS, 0): 1, (200, 0, TOKENS): CROWD - 1}


async def test_the_leader_is_killed_and_all_others_are_answered(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.crowd(CROWD)
        asked = crowd.ask(stage.request(ASK))
        victim = await stage.leader()
        await asyncio.sleep(1)
        os.kill(victim, signal.SIGKILL)
        replies = await replies_of(asked, within_s=10)
        lost = [reply for reply, worker in zip(replies, crowd.workers, strict=True) if worker == victim]
        others = [reply for reply, worker in zip(replies, crowd.workers, strict=True) if worker != victim]
        assert len(others) > CROWD // 10
        assert states(others) == {(200, "MISS"): 1, (200, "HIT"): len(others) - 1}
        assert texts(others) == {TEXT}
        # Only connections of the dead worker broke, and all of them: none was answered out of nothing.
        assert states(lost) == {(0, None): len(lost)}
        assert len(stage.witness.calls()) == 2
    assert booked(stage.served.data_dir) == {
        (200, TOKENS, 0): 1,
        (200, 0, TOKENS): len(others) - 1,
        (500, prompt_tokens(ASK["prompt"]), 0): 1,
    }
    assert Counter(row.error for row in read_rows(stage.served.data_dir))[LOST] == 1


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["in its worker", "in other workers"])
async def test_a_leader_whose_client_leaves_goes_on_for_its_followers(tmp_path: Path, is_elsewhere: bool) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.spread(10)
        first, worker = crowd.connections[0], crowd.workers[0]
        leading = asyncio.create_task(first.ask(stage.request(STREAM)))
        assert await stage.leader() == worker
        followers = crowd.beside(worker) if is_elsewhere else crowd.of(worker)[1:]
        asked = [asyncio.create_task(connection.ask(stage.request(ASK))) for connection in followers]
        await asyncio.sleep(0.3)
        first.close()
        await leading
        replies = await replies_of(asked, within_s=10)
        assert states(replies) == {(200, "HIT"): len(followers)}
        assert texts(replies) == {TEXT}
        assert (len(stage.witness.calls()), stage.witness.left()) == (1, [])
    # The engine was called for the one who left, so its row has the tokens.
    assert booked(stage.served.data_dir) == {(499, TOKENS, 0): 1, (200, 0, TOKENS): len(followers)}


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["one worker", "all workers"])
async def test_when_all_have_left_the_engine_is_called_off_within_a_second(tmp_path: Path, is_elsewhere: bool) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.spread(10)
        ask = STREAM | {"model": "paced-300"}
        leading = asyncio.create_task(crowd.connections[0].ask(stage.request(ask)))
        worker = await stage.leader()
        waiting = crowd.connections[1:] if is_elsewhere else crowd.of(worker)[1:]
        asked = [asyncio.create_task(connection.ask(stage.request(ask))) for connection in waiting]
        await asyncio.sleep(0.5)
        left_s = time.monotonic()
        for connection in crowd.connections:
            connection.close()
        await replies_of([leading, *asked], within_s=5)
        async with asyncio.timeout(6):
            while not stage.witness.left():
                await asyncio.sleep(0.01)
        assert stage.witness.left()[0].at_s - left_s < 1
        await asyncio.sleep(0.5)
        assert len(stage.witness.calls()) == 1
    rows = read_rows(stage.served.data_dir)
    assert Counter((row.status, row.completion_tokens > 0) for row in rows) == {
        (499, True): 1,
        (499, False): len(waiting),
    }


async def test_streams_and_plain_answers_are_the_same_in_every_worker(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.spread(20)
        bodies = [ASK if number % 2 else STREAM for number in range(80)]
        asked = [
            asyncio.create_task(connection.ask(stage.request(body)))
            for connection, body in zip(crowd.connections, bodies, strict=True)
        ]
        replies = await replies_of(asked, within_s=10)
        assert states(replies) == {(200, "MISS"): 1, (200, "HIT"): 79}
        assert all(reply.is_answered for reply in replies)
        assert sum(reply.is_stream for reply in replies) == 40
        assert texts(replies) == {TEXT}
        assert len(stage.witness.calls()) == 1


async def test_an_engine_that_fails_fails_all_and_hangs_none(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        crowd = await stage.spread(50)
        replies = await replies_of(crowd.ask(stage.request(ASK | {"model": "broken-500"})), within_s=10)
        assert Counter(reply.status for reply in replies) == {502: 200}
        assert 1 <= len(stage.witness.calls()) <= WORKERS
    assert booked(stage.served.data_dir) == {(502, 0, 0): 200}
