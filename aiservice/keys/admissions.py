"""The keys that this process knows to be good, and for a few seconds those it knows to be bad.

Both are found by a keyed digest of the text under a random key of this process: no key text stays in memory.
"""

import os
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import ip_network

from aiservice.keys.model import ApiKey, Caller, caller_of
from aiservice.keys.sources import Network

GOOD_MAX = 50_000
BAD_MAX = 10_000
GOOD_TTL_S = 30.0
GOOD_TTL_SPREAD = 0.2
BAD_TTL_S = 5.0
# How long a key that was good is still let in after the store went away.
OUTAGE_S_MAX = 60.0
OUTAGE_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Admission:
    """A good key as it was read. Times are the clock's monotonic seconds, and never after the key's own expiry.

    It admits until `fresh_until_s`; after that the store is asked again, and while that does not answer it admits on,
    until `usable_until_s` at the latest.
    """

    caller: Caller
    kid: str
    networks: tuple[Network, ...]
    fresh_until_s: float
    usable_until_s: float


class Admissions:
    """Two tables of least recently used: 50,000 good keys for 30 s +/- 20 %, 10,000 bad ones for 5 s.

    They are apart so that garbage never drives out a good key. `version` grows with every `forget`: what was read
    from the store before that must not be kept.
    """

    def __init__(self, *, good_max: int = GOOD_MAX, bad_max: int = BAD_MAX) -> None:
        self._good_max = good_max
        self._bad_max = bad_max
        self._good: OrderedDict[bytes, Admission] = OrderedDict()
        self._digest_by_kid: dict[str, bytes] = {}
        self._bad: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._hasher = blake2b(digest_size=16, key=os.urandom(32))
        self.version = 0

    def digest_of(self, text: str) -> bytes:
        hasher = self._hasher.copy()
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return hasher.digest()

    def fresh(self, digest: bytes, now_s: float) -> Admission | None:
        """The admission of a key that was read lately."""
        admission = self._good.get(digest)
        if admission is None or now_s >= admission.fresh_until_s:
            return None
        self._good.move_to_end(digest)
        return admission

    def known(self, digest: bytes) -> Admission | None:
        """The admission of a key that was good when it was last read, however long ago."""
        return self._good.get(digest)

    def is_bad(self, digest: bytes, now_s: float) -> bool:
        """Whether the key was found bad lately."""
        bad = self._bad.get(digest)
        return bad is not None and now_s < bad[1]

    def keep(self, digest: bytes, admission: Admission) -> None:
        """Notes a good key; the one that was used longest ago leaves when there are too many."""
        self._bad.pop(digest, None)
        self._good[digest] = admission
        self._good.move_to_end(digest)
        self._digest_by_kid[admission.kid] = digest
        if len(self._good) > self._good_max:
            _, oldest = self._good.popitem(last=False)
            self._digest_by_kid.pop(oldest.kid, None)

    def keep_bad(self, digest: bytes, kid: str, now_s: float) -> None:
        """Notes a bad key; if it was good before, that is forgotten."""
        if self._good.pop(digest, None) is not None:
            self._digest_by_kid.pop(kid, None)
        self._bad[digest] = (kid, now_s + BAD_TTL_S)
        self._bad.move_to_end(digest)
        if len(self._bad) > self._bad_max:
            self._bad.popitem(last=False)

    def bridge(self, digest: bytes, *, now_s: float, until_s: float) -> Admission | None:
        """Lets a key that was good on for a second, as its store does not answer; None once that has lasted too long.

        `until_s`: the end of what this outage may last. The store is asked again after the second.
        """
        known = self._good.get(digest)
        if known is None or now_s >= (end_s := min(known.usable_until_s, until_s)):
            return None
        bridged = replace(known, fresh_until_s=max(known.fresh_until_s, min(now_s + OUTAGE_RETRY_S, end_s)))
        self._good[digest] = bridged
        return bridged

    def forget(self, kids: Collection[str]) -> None:
        """Drops all that is known of these keys, good or bad."""
        self.version += 1
        for kid in kids:
            digest = self._digest_by_kid.pop(kid, None)
            if digest is not None:
                self._good.pop(digest, None)
        for digest in [digest for digest, (kid, _) in self._bad.items() if kid in kids]:
            del self._bad[digest]

    def end(self, kids: Collection[str], now_s: float) -> None:
        """Turns what is known of keys that are good for nothing any more into bad ones."""
        ended = [(digest, kid) for kid in kids if (digest := self._digest_by_kid.get(kid)) is not None]
        self.forget(kids)
        for digest, kid in ended:
            self.keep_bad(digest, kid, now_s)

    def sizes(self) -> tuple[int, int]:
        """How many good and how many bad keys are noted."""
        return len(self._good), len(self._bad)


def admission_of(key: ApiKey, digest: bytes, *, now_s: float, now_us: int) -> Admission:
    """The admission of a row that was read now. The spread of its time is taken from the digest, which is random."""
    expires_s = now_s + (key.expires_at_us - now_us) / 1_000_000
    ttl_s = GOOD_TTL_S * (1 + GOOD_TTL_SPREAD * (digest[0] / 127.5 - 1))
    return Admission(
        caller=caller_of(key),
        kid=key.kid,
        networks=tuple(ip_network(text, strict=False) for text in key.allowed_ips),
        fresh_until_s=min(now_s + ttl_s, expires_s),
        usable_until_s=min(now_s + ttl_s + OUTAGE_S_MAX, expires_s),
    )
