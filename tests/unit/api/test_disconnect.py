"""The watch for clients that leave: it costs nothing while the answer is quick, and ends the handler when it must."""

import asyncio

from aiservice.api.asgi import Message
from aiservice.api.disconnect import PATIENCE_S, DisconnectWatch, Lookout


class Client:
    """Counts who listens to it, says something, and leaves when told."""

    def __init__(self) -> None:
        self.listeners = 0
        self.has_left = asyncio.Event()

    async def receive(self) -> Message:
        self.listeners += 1
        if self.listeners == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.has_left.wait()
        return {"type": "http.disconnect"}


async def handle(client: Client, lookout: Lookout, *, for_s: float) -> bool:
    """Whether the watch ended the handler."""
    with DisconnectWatch(client.receive, lookout) as watch:
        watch.start()
        try:
            await asyncio.sleep(for_s)
        except asyncio.CancelledError:
            if not watch.is_gone:
                raise
        return watch.is_gone


async def test_a_client_that_leaves_ends_the_handler() -> None:
    client = Client()
    asyncio.get_running_loop().call_later(PATIENCE_S * 3, client.has_left.set)
    assert await handle(client, Lookout(), for_s=5)


async def test_a_quick_answer_is_not_watched() -> None:
    client, lookout = Client(), Lookout()
    client.has_left.set()
    assert not await handle(client, lookout, for_s=0)
    await asyncio.sleep(PATIENCE_S * 3)
    assert client.listeners == 0


async def test_each_is_watched_in_its_time() -> None:
    lookout, clients = Lookout(), [Client() for _ in range(3)]
    handlers = []
    for client in clients:
        handlers.append(asyncio.create_task(handle(client, lookout, for_s=5)))
        await asyncio.sleep(PATIENCE_S / 2)
    await asyncio.sleep(PATIENCE_S * 3)
    assert [client.listeners for client in clients] == [2, 2, 2]
    for client in clients:
        client.has_left.set()
    assert await asyncio.gather(*handlers) == [True, True, True]


async def test_the_lookout_rests_and_begins_again() -> None:
    lookout = Lookout()
    assert not await handle(Client(), lookout, for_s=0)
    await asyncio.sleep(PATIENCE_S * 3)
    client = Client()
    asyncio.get_running_loop().call_later(PATIENCE_S * 3, client.has_left.set)
    assert await handle(client, lookout, for_s=5)


async def test_a_handler_that_is_cancelled_by_others_is_not_taken_for_a_client_that_left() -> None:
    client = Client()
    handler = asyncio.create_task(handle(client, Lookout(), for_s=5))
    await asyncio.sleep(PATIENCE_S * 3)
    handler.cancel()
    (result,) = await asyncio.gather(handler, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
    before = client.listeners
    client.has_left.set()
    await asyncio.sleep(0)
    assert client.listeners == before, "nobody listens any more"
