"""One connection to one server: commands of a turn of the loop go out together, replies come back in their order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import cast

import hiredis

from aiservice.stores.redis.breaker import Breaker
from aiservice.stores.redis.wire import Answer, Reply, unavailable

# Unsent bytes at which further commands are refused, so that a slow server fills no memory.
UNSENT_BYTES_MAX = 8_388_608
# A reply that is in the socket when its deadline has passed, because the loop stood still, may still be read.
GRACE_S = 0.001
GRACE_TURNS_MAX = 5
UNASKED_CHARACTERS_MAX = 100

Waiter = asyncio.Future[Reply]


class Connection(asyncio.Protocol):
    """`send` as often as you like; `fail` or `close` ends it, and then `ended` with the reason in it is done.

    A call that has waited for `timeout_s` gets `StoreUnavailable`; its place in the queue stays, so that the late reply
    goes to nobody else. The same holds for a caller that was cancelled. One timer watches over all calls.
    """

    def __init__(self, *, breaker: Breaker, timeout_s: float, lost: Callable[[str], None] | None = None) -> None:
        """`lost` is called at once with the reason when a connection ends that was not closed by us.

        `is_full` says that so much waits to be sent that further calls are refused.
        """
        self.timeout_s = timeout_s
        self.lost = lost
        self.reads = 0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._breaker = breaker
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=...)
        self._unsent: list[bytes] = []
        self.is_full = False
        self._waiting: deque[Waiter] = deque()
        # (deadline, number of the last command) of each turn that waits for replies.
        self._turns: deque[tuple[float, int]] = deque()
        self._sent = 0
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._grace_turns = 0
        self._reads_seen = 0

    def answer_within(self, timeout_s: float) -> None:
        """Sets the deadline of the calls to come, at a moment when none waits."""
        self.timeout_s = timeout_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send(self, command: bytes) -> Waiter:
        """The future of a packed command's reply. A RESP error is raised by it as hiredis' `ReplyError`.

        Raises `StoreUnavailable` at once when the connection has ended or 8 MiB wait to be sent.
        """
        if self.is_full or self.ended.done():
            raise unavailable("too much waits to be sent" if self.is_full else self.ended.result())
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)
        waiter: Waiter = self._loop.create_future()
        self._waiting.append(waiter)
        return waiter

    def fail(self, reason: str) -> None:
        """Cuts the connection; all that wait get `StoreUnavailable`. No more than the first call counts."""
        if self._end(reason) and self.lost is not None:
            self.lost(reason)

    def close(self) -> None:
        """Sends what is unsent and ends; all that wait get `StoreUnavailable`."""
        self._flush()
        if self._end("closed") and self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, they only have its methods.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail("the connection was closed" if error is None else f"{type(error).__name__}: {error}")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        reader, waiting, answered = self._reader, self._waiting, 0
        is_heard = False
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not ...:
                if not waiting:
                    self.unasked(reply)
                    continue
                waiter = waiting.popleft()
                answered += 1
                if waiter.done():
                    continue
                is_heard = True
                if isinstance(reply, hiredis.ReplyError):
                    waiter.set_exception(reply)
                else:
                    waiter.set_result(reply)
        except hiredis.ProtocolError as error:
            self.fail(f"what came is not Redis's protocol: {error}")
        self._settle(answered, is_heard=is_heard)

    def unasked(self, reply: Answer) -> None:
        """Something came that no call waits for: the two sides are out of step."""
        self.fail(f"a reply came that nobody asked for: {str(reply)[:UNASKED_CHARACTERS_MAX]}")

    def say(self, command: bytes) -> None:
        """Sends a packed command whose reply comes to `unasked`."""
        if self._transport is not None and not self.ended.done():
            self._transport.write(command)

    def _settle(self, answered: int, *, is_heard: bool) -> None:
        self._answered += answered
        turns = self._turns
        while turns and turns[0][1] <= self._answered:
            turns.popleft()
        if is_heard:
            self._breaker.misses = 0

    def _flush(self) -> None:
        commands, self._unsent = self._unsent, []
        if not commands or self._transport is None or self.ended.done():
            return
        self._sent += len(commands)
        self._turns.append((time.monotonic() + self.timeout_s, self._sent))
        self._transport.write(commands[0] if len(commands) == 1 else b"".join(commands))
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeout_s, self._look)

    def _look(self) -> None:
        """What the timer does: the oldest turn is still in time, has another moment, or is overdue."""
        self._timer = None
        left_s = self._turns[0][0] - time.monotonic() if self._turns else None
        if left_s is None or left_s > GRACE_S:
            self._grace_turns = 0
            if left_s is not None:
                self._timer = self._loop.call_later(left_s, self._look)
        elif self._has_grace():
            self._timer = self._loop.call_later(GRACE_S, self._look)
        else:
            self._miss()

    def _has_grace(self) -> bool:
        """Whether the loop gets one more turn to read: the first time, and while each turn still brings bytes."""
        is_first, is_moving = self._grace_turns == 0, self.reads != self._reads_seen
        self._reads_seen = self.reads
        if self._grace_turns < GRACE_TURNS_MAX and (is_first or is_moving):
            self._grace_turns += 1
            return True
        self._grace_turns = 0
        return False

    def _miss(self) -> None:
        """Gives up the calls that are overdue; one moment is one miss, however many they are."""
        end, now_s = self._answered, time.monotonic()
        while self._turns and self._turns[0][0] - now_s <= GRACE_S:
            end = self._turns.popleft()[1]
        reason = f"no reply within {round(self.timeout_s * 1_000)} ms"
        for waiter in islice(self._waiting, end - self._answered):
            if not waiter.done():
                waiter.set_exception(unavailable(reason))
        if self._breaker.missed():
            self.fail(reason)
        elif self._turns:
            self._timer = self._loop.call_later(max(GRACE_S, self._turns[0][0] - now_s), self._look)

    def _end(self, reason: str) -> bool:
        """False if it had ended before."""
        if self.ended.done():
            return False
        self.ended.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        self._turns.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(unavailable(reason))
        self._waiting.clear()
        if self._transport is not None and reason != "closed":
            self._transport.abort()
        return True
