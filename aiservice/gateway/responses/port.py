"""What stored responses need of a store: each stands under its tenant and id, in the making or ended."""

from collections.abc import Collection
from typing import Protocol

from aiservice.gateway.responses.model import ClosedStatus, Ending, Name, StoredResponse

LEASE_S = 30


class ResponseStore(Protocol):
    """Every method is one transaction and raises `StoreUnavailable` when the store cannot be used.

    What has expired is not there any more, also before it is swept.
    """

    async def add(self, response: StoredResponse) -> None:
        """Keeps a new response."""
        ...

    async def find(self, name: Name) -> StoredResponse | None:
        """The response of that tenant and id."""
        ...

    async def finish(self, name: Name, ending: Ending) -> bool:
        """Ends a response that is in progress; False when it is not, or not there."""
        ...

    async def close(self, name: Name, status: ClosedStatus, *, lapsed_only: bool = False) -> bool:
        """Ends a response that is in progress without an answer; False as `finish`.

        With `lapsed_only` one whose lease holds stays as it is.
        """
        ...

    async def running(self, names: Collection[Name]) -> frozenset[Name]:
        """Those of the responses that are still in progress."""
        ...

    async def renew(self, names: Collection[Name]) -> None:
        """A sign of life of those that are in progress, good for `LEASE_S` more."""
        ...

    async def delete(self, name: Name) -> bool:
        """Erases the response; False when it is not there."""
        ...

    async def sweep(self, *, rows_max: int) -> int:
        """Deletes at most so many of what has expired, and says how many those were."""
        ...
