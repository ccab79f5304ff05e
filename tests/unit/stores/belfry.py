"""A bell within one process, for what rings and listens."""

from collections.abc import Callable


class Belfry:
    """Everyone hears every ring at once."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self._heard: list[tuple[str, Callable[[], None]]] = []

    def ring(self, channel: str) -> None:
        self.rung.append(channel)
        for listened, heard in self._heard:
            if listened == channel:
                heard()

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        self._heard.append((channel, heard))

    async def aclose(self) -> None:
        self._heard.clear()
