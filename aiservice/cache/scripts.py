"""The Lua scripts of the cache, as Redis gets them: the numbers of `lease.py`, `rules.lua`, and the script itself."""

from pathlib import Path

from aiservice.cache.frame import HEAD_BYTES
from aiservice.cache.lease import LAST_CALL_US, LEASE_US, LOST_AFTER_US, MARK_AFTER_US, WANTED_US
from aiservice.stores.redis import Script

_HERE = Path(__file__).parent
_NUMBERS = (
    ("LEASE_US", LEASE_US),
    ("WANTED_US", WANTED_US),
    ("MARK_AFTER_US", MARK_AFTER_US),
    ("LAST_CALL_US", LAST_CALL_US),
    ("KEPT_MS", (LEASE_US + LOST_AFTER_US) // 1_000),
    ("HEAD_BYTES", HEAD_BYTES),
)


def _text(name: str) -> str:
    return (_HERE / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str) -> Script:
    numbers = "".join(f"local {name} = {number}\n" for name, number in _NUMBERS)
    return Script(numbers + _text("rules") + _text(name))


CLAIM = _script("claim")
PUT = _script("put")
RENEW = _script("renew")
RELEASE = _script("release")
COUNT = Script(_text("count"))
