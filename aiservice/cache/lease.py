"""The rules of a lease, the same for every backend: who leads, who waits, when it lapses."""

from dataclasses import dataclass

from aiservice.cache.model import LEASE_S, WANTED_S

LEASE_US = LEASE_S * 1_000_000
WANTED_US = WANTED_S * 1_000_000
# Who waits asks every 20 ms; to write that down so often would make each question a transaction.
MARK_AFTER_US = 500_000
# Who gives up waiting takes everyone's mark back; who still waits has so long to ask again before the leader may go.
LAST_CALL_US = 300_000
# A lapsed lease may be renewed, and its answer kept, as long as nobody took it over; later it is swept.
LOST_AFTER_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Lease:
    """Who makes an answer, until when (microseconds since the epoch), and when someone last asked for it."""

    id: str
    expires_at_us: int
    wanted_at_us: int | None = None

    def renewed(self, now_us: int) -> "Lease":
        """For another `LEASE_S`. A mark from a clock that went back counts from now."""
        wanted_at_us = None if self.wanted_at_us is None else min(self.wanted_at_us, now_us)
        return Lease(self.id, now_us + LEASE_US, wanted_at_us)

    def is_wanted(self, now_us: int) -> bool:
        """Whether someone asked within `WANTED_S`."""
        return self.wanted_at_us is not None and now_us - self.wanted_at_us <= WANTED_US


def last_call_us(now_us: int) -> int:
    """The newest mark that a lease keeps when one who waited for it leaves: older than any that counts as lately."""
    return now_us - WANTED_US + LAST_CALL_US


def is_awaited(lease: Lease, lease_id: str, now_us: int) -> bool:
    """Whether who claims waits and nothing is to be written: another leads, and was told lately that it is waited for.

    A lease that ends later than any renewal could make it is of a clock that went back, and is to be cut.
    """
    is_held = lease.id != lease_id and now_us < lease.expires_at_us <= now_us + LEASE_US
    return is_held and lease.wanted_at_us is not None and 0 <= now_us - lease.wanted_at_us <= MARK_AFTER_US


def claimed(lease: Lease | None, lease_id: str, now_us: int) -> tuple[bool, Lease]:
    """Whether who claims leads, and the lease as it is then."""
    if lease is None or lease.expires_at_us <= now_us:
        return True, Lease(lease_id, now_us + LEASE_US)
    if lease.id == lease_id:
        return True, lease.renewed(now_us)
    if is_awaited(lease, lease_id, now_us):
        return False, lease
    return False, Lease(lease.id, min(lease.expires_at_us, now_us + LEASE_US), now_us)
