"""Opens a connection: TCP, TLS, HELLO with the password, the database, and the first PONG."""

import asyncio

from hiredis import ReplyError

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.connection import Connection
from aiservice.stores.redis.wire import DETAIL_CHARACTERS_MAX, RETRY_AFTER_S, Argument, Reply, pack

CONNECT_S = 1.0


class DialFailed(StoreUnavailable):
    """The server is not there, refuses us, or is none that can be used; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(detail=f"Redis: {reason}", retry_after_s=RETRY_AFTER_S)
        self.reason = reason


async def dial(
    connection: Connection, address: RedisAddress, node: tuple[str, int], *, name: str, must_write: bool = True
) -> None:
    """Connects within a second or raises `DialFailed`. `must_write` refuses a replica, which takes no writes."""
    host, port = node
    timeout_s = connection.timeout_s
    connection.answer_within(CONNECT_S)
    is_ready = False
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                host,
                port,
                ssl=address.tls,
                server_hostname=host if address.tls is not None else None,
            )
            await _greet(connection, address, name=name, must_write=must_write)
        connection.answer_within(timeout_s)
        is_ready = not connection.ended.done()
    except TimeoutError:
        raise DialFailed(f"{host}:{port} did not answer within {CONNECT_S:g} s") from None
    except OSError as error:
        raise DialFailed(f"{host}:{port}: {type(error).__name__}: {error}") from error
    except DialFailed as error:
        raise DialFailed(f"{host}:{port}: {error.reason}") from error
    except StoreUnavailable:
        # It ended while it was greeted; why is said below.
        connection.fail("no reply")
    finally:
        if not is_ready:
            connection.fail("it could not be opened")
    if not is_ready:
        raise DialFailed(f"{host}:{port}: {connection.ended.result()}")


async def _greet(connection: Connection, address: RedisAddress, *, name: str, must_write: bool) -> None:
    hello: tuple[Argument, ...] = ("HELLO", "2")
    if address.username is not None or address.password is not None:
        hello += ("AUTH", address.username or "default", address.password or "")
    commands: list[tuple[Argument, ...]] = [(*hello, "SETNAME", f"aiservice-{name.partition(' ')[0]}")]
    if address.database:
        commands.append(("SELECT", address.database))
    commands.append(("PING",))
    replies = await asyncio.gather(*(connection.send(pack(command)) for command in commands), return_exceptions=True)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise _refusal(reply)
        if isinstance(reply, BaseException):
            raise reply
    if must_write and _role(replies[0]) == b"replica":
        raise DialFailed("it is a replica, which takes no writes")


def _refusal(error: ReplyError) -> DialFailed:
    text = str(error)[:DETAIL_CHARACTERS_MAX]
    if "unknown command" in text:
        return DialFailed(f"it is older than Redis 6.2 or speaks another protocol: {text}")
    return DialFailed(text)


def _role(hello: object) -> Reply:
    """HELLO's answer is a list of names and values in turn."""
    facts = hello if isinstance(hello, list) else []
    names = facts[::2]
    return facts[2 * names.index(b"role") + 1] if b"role" in names else None
