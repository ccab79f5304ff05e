"""Requests that work of our own answers, which may consult models: one take and one row each, like any other."""

from collections.abc import Callable
from contextlib import aclosing
from types import TracebackType

from aiservice.core.errors import EngineError
from aiservice.core.types import Completion, Deadline, Generation
from aiservice.engines import Route
from aiservice.gateway.model import Spent, Visit
from aiservice.gateway.pricing import cost_nano, prompt_estimate
from aiservice.gateway.recorder import Recorder
from aiservice.limits import Take


class Consultant:
    """Asks engines for a request that is under way; what they use is the request's."""

    def __init__(
        self, recorder: Recorder, visit: Visit, *, route: Callable[[Visit, Generation], Route], deadline: Deadline
    ) -> None:
        self._recorder = recorder
        self._visit = visit
        self._route = route
        self._deadline = deadline
        self.spent = Spent()

    async def ask(self, asked: Generation) -> Completion:
        """The whole answer, all its choices. Raises what `Corridor.answer` raises of models and engines."""
        route = self._route(self._visit, asked)
        model = route.model
        estimate = self.spent.tokens.total + prompt_estimate(asked)
        transcript = self._recorder.consulting(self._visit, model, estimate)
        try:
            async with aclosing(route.ask(asked, self._deadline)) as chunks:
                async for chunk in chunks:
                    transcript.add(chunk)
                    self._recorder.progressed(self._visit, transcript)
            transcript.ensure_complete()
        except EngineError as error:
            self._recorder.engine_failed(model, error)
            raise
        finally:
            tokens = transcript.tokens_so_far()
            self._recorder.used(model, tokens)
            self.spent.add(model.name, tokens, cost_nano(model, tokens))
        return transcript.completion(model.name, model.engine)


class Working:
    """A request from its take to its row, however it ends."""

    def __init__(self, recorder: Recorder, visit: Visit, take: Take, *, spent: Spent) -> None:
        self._recorder = recorder
        self._visit = visit
        self._take = take
        self._spent = spent

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._recorder.worked(self._visit, self._take, self._spent, error=error)
