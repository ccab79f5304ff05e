"""Numbered requests from many clients at once, and what each of them came to.

A request's number can be read from its row, though rows keep no prompts: number n is asked with key n % KEYS, and its
prompt is as long as n // KEYS says, so that the estimate of its tokens, which the engine's own count equals, tells it.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.client import Connection, Reply, post
from tests.faults.serving import Served
from tests.servers.witness_engine import prompt_tokens, words

KEYS = 16
TENANTS = 4
# Numbers below it are asked for again and again, the first time before anything is killed: later ones are hits.
KEPT = 32
REPEATED = 0.15
CLIENTS = 32
# Milliseconds a word, and how often; the slowest answers are long enough for marks of how far they got.
PACES = {"paced-0": 10, "paced-3": 10, "paced-30": 10, "paced-100": 8, "paced-300": 2}
CHARACTERS_MIN = 20
# No answer of this load takes three seconds; a request that hangs is a failure of the service.
ANSWER_S_MAX = 20.0
# Who is told that the service cannot do it now asks again a little later.
REFUSED_S = 0.05


@dataclass(frozen=True)
class Order:
    """A request: how its number is asked for."""

    number: int
    model: str
    is_stream: bool
    is_kept: bool

    @property
    def prompt(self) -> str:
        return f"request {self.number} ".ljust(CHARACTERS_MIN + 4 * (self.number // KEYS), "x")

    @property
    def prompt_tokens(self) -> int:
        return prompt_tokens(self.prompt)

    @property
    def max_tokens(self) -> int:
        return max_tokens_of(self.number)

    @property
    def engine_s(self) -> float:
        """How long the engine takes for it."""
        return int(self.model.removeprefix("paced-")) / 1000 * self.max_tokens

    @property
    def text(self) -> str:
        """What the engine answers."""
        return "".join(words(self.number, self.max_tokens))

    def request(self, key: str) -> bytes:
        body: dict[str, Any] = {"model": self.model, "prompt": self.prompt, "max_tokens": self.max_tokens}
        if self.is_stream:
            body["stream"] = True
        headers = {} if self.is_kept else {"cache_control": "no-store"}
        return post("/ai/generate", key, body, **headers)


@dataclass(frozen=True)
class Outcome:
    """What a client saw of its request."""

    order: Order
    reply: Reply
    # By the monotonic clock.
    began_s: float = 0.0
    took_s: float = 0.0


@dataclass(frozen=True)
class Key:
    """A key and the id under which the ledger knows it."""

    secret: str
    id: str


def max_tokens_of(number: int) -> int:
    return 3 + number % 5


async def make_keys(served: Served) -> list[Key]:
    made = [await served.made_key(tenant_id=f"tenant-{number % TENANTS}") for number in range(KEYS)]
    return [Key(str(facts["api_key"]), str(facts["key_id"])) for facts in made]


def number_of(key_ids: Sequence[str], api_key_id: str, tokens: int) -> int:
    """The number that a row with this key and these prompt tokens is of."""
    return (tokens - prompt_tokens("x" * CHARACTERS_MIN)) * KEYS + key_ids.index(api_key_id)


class Load:
    """`run` asks until `is_over` says so; each client opens a new connection when its own has broken."""

    def __init__(self, port: int, keys: Sequence[Key], *, seed: int, clients: int = CLIENTS) -> None:
        self.outcomes: list[Outcome] = []
        self.count_answered = 0
        self._port = port
        self._keys = keys
        self._seed = seed
        self._clients = clients
        self._numbers = itertools.count(KEPT)

    async def warm(self) -> None:
        """Asks for the numbers that are kept."""
        connection = await Connection.to(self._port)
        for number in range(KEPT):
            await self.ask(connection, self.kept(number))
        connection.close()

    async def run(self, is_over: Callable[[], bool]) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(self._clients):
                clients.create_task(self._client(random.Random(f"{self._seed} {number}"), is_over))

    async def _client(self, chance: random.Random, is_over: Callable[[], bool]) -> None:
        connection = await Connection.to(self._port)
        while not is_over():
            if not connection.is_open:
                connection = await Connection.to(self._port)
            outcome = await self.ask(connection, self._next(chance))
            if outcome.reply.status == 503:
                await asyncio.sleep(REFUSED_S)
        connection.close()

    async def ask(self, connection: Connection, order: Order) -> Outcome:
        key = self._keys[order.number % KEYS]
        began_s = time.monotonic()
        async with asyncio.timeout(ANSWER_S_MAX):
            reply = await connection.ask(order.request(key.secret))
        outcome = Outcome(order, reply, began_s, time.monotonic() - began_s)
        self.outcomes.append(outcome)
        self.count_answered += reply.is_answered
        return outcome

    def _next(self, chance: random.Random) -> Order:
        if chance.random() < REPEATED:
            return self.kept(chance.randrange(KEPT))
        is_stream, is_kept = chance.random() < 0.5, chance.random() < 0.5
        (model,) = chance.choices(list(PACES), PACES.values())
        return Order(next(self._numbers), model, is_stream, is_kept)

    def kept(self, number: int) -> Order:
        return Order(number, "paced-0", is_stream=number % 2 == 0, is_kept=True)
