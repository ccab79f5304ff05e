"""Reads the Cache-Control header of a request (RFC 9111, section 5.2.1)."""

import re
from functools import lru_cache

from aiservice.cache.model import CachePolicy
from aiservice.core.errors import InvalidRequest

POLICY_DEFAULT = CachePolicy()
# No answer is older, so a larger max-age asks for nothing more.
MAX_AGE_S_MAX = 2_147_483_647

_AGE = re.compile(r'[0-9]{1,32}|"[0-9]{1,32}"')


@lru_cache(maxsize=256)
def read_policy(header: str | None) -> CachePolicy:
    """What the caller asks of the cache: no-store, no-cache, max-age, only-if-cached; others mean nothing to us.

    Of several max-age the least counts. Raises `InvalidRequest` for a max-age that is no whole number of seconds.
    """
    if not header:
        return POLICY_DEFAULT
    names: set[str] = set()
    max_age_s: int | None = None
    for directive in header.split(","):
        name, _, value = directive.strip().partition("=")
        name = name.strip().lower()
        names.add(name)
        if name == "max-age":
            age_s = _seconds(value.strip())
            max_age_s = age_s if max_age_s is None else min(age_s, max_age_s)
    may_write = "no-store" not in names
    return CachePolicy(
        may_read=may_write and "no-cache" not in names,
        may_write=may_write,
        only_if_cached="only-if-cached" in names,
        max_age_s=max_age_s,
    )


def _seconds(value: str) -> int:
    if _AGE.fullmatch(value) is None:
        raise InvalidRequest(
            "max-age in Cache-Control takes a whole number of seconds, at least 0, for example max-age=60.",
            param="Cache-Control",
        )
    return min(int(value.strip('"')), MAX_AGE_S_MAX)
