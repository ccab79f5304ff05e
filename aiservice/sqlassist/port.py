"""What a worker asks of SQL assist."""

from typing import Protocol

from aiservice.sqlassist.model import Answer, Brief, Grid, Query, Task


class Machine(Protocol):
    """Answers tasks without ever waiting for a model.

    Every call raises `StatementRefused`, `SchemaInvalid`, `DatabaseDown`, `SqlTimeout` or `Overloaded`.
    """

    async def assist(self, task: Task) -> Answer:
        """The answer, or the reason why there is none."""
        ...

    async def brief(self, task: Task) -> Brief | None:
        """What a capable model should be asked before `assist`; None where the machine needs none."""
        ...

    async def run(self, query: Query) -> Grid:
        """The rows of one statement that reads."""
        ...

    async def aclose(self) -> None:
        """Lets go of the connections."""
        ...
