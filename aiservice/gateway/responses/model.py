"""A stored response, and the end that one in the making comes to."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
# What a response comes to when its maker does not tell: it was lost, or called off.
ClosedStatus = Literal["failed", "cancelled"]
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `body` is the response as its door shows it, `chunks` what its stream was made of."""

    status: Status
    body: bytes
    chunks: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response of a tenant; times are microseconds since the epoch.

    `body`, `conversation` (all that was said before the answer, also in earlier responses) and `chunks` are the door's
    own words. Of one that was closed the `status` is newer than what its body says. The lease counts while it is
    in progress.
    """

    id: str
    tenant_id: str
    status: Status
    is_background: bool
    body: bytes
    conversation: bytes
    chunks: bytes
    created_at_us: int
    lease_until_us: int
    expires_at_us: int

    @property
    def name(self) -> Name:
        """What it is found by: no tenant sees another's."""
        return self.tenant_id, self.id

    @property
    def is_running(self) -> bool:
        return self.status == "in_progress"
