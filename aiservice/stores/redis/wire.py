"""The words of Redis: commands as they are sent, replies as they come, and what its errors mean to us."""

import re
from collections.abc import Callable
from typing import TypeAlias, cast

import hiredis
from hiredis import ReplyError

from aiservice.core.errors import AIServiceError, StoreUnavailable, Unexpected

# As hiredis reads it, nothing decoded: +OK and strings are bytes, nil is None.
Reply: TypeAlias = "int | bytes | list[Reply] | None"
Answer: TypeAlias = "Reply | ReplyError"
Argument = str | bytes | int

# Its stub asks for a tuple of one.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)

RETRY_AFTER_S = 1
DETAIL_CHARACTERS_MAX = 200

# The server is up and cannot do this now.
_PASSING = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY"}
    | {"ASK", "MOVED", "TRYAGAIN", "WRONGPASS"}
)
# The server is the wrong one, or not ready: another connection may find the right one.
_ESTRANGED = frozenset({"LOADING", "MASTERDOWN", "NOAUTH", "READONLY"})
# Redis 6.2 wraps what a script ran into: "ERR ...: @user_script: 1: -OOM command not allowed ...".
_WRAPPED = re.compile(rf"(?:ERR .*)?@user_script: \d+: -({'|'.join(sorted(_PASSING))})\b", re.DOTALL)


def code_of(error: ReplyError) -> str:
    """The word that an error begins with, or the one that a script ran into."""
    text = str(error)
    wrapped = _WRAPPED.match(text)
    return wrapped.group(1) if wrapped else text.partition(" ")[0]


def is_estranged(code: str) -> bool:
    """Whether the error says that this server should not be asked any more: read-only, loading, cut from its master."""
    return code in _ESTRANGED


def meaning(error: ReplyError) -> AIServiceError:
    """`StoreUnavailable` for what passes by itself or by the operator, `Unexpected` for our own mistakes."""
    text = str(error)[:DETAIL_CHARACTERS_MAX]
    if code_of(error) in _PASSING or text.startswith("ERR max number of clients"):
        return unavailable(text)
    return Unexpected(detail=f"Redis: {text}")


def unavailable(reason: str) -> StoreUnavailable:
    """The error of a call that Redis did not answer, for whatever reason."""
    return StoreUnavailable(detail=f"Redis: {reason}", retry_after_s=RETRY_AFTER_S)
