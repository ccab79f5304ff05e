"""From a model's name to the engine that answers: who is there, what it serves, and whose turn it is."""

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from aiservice.core.clock import Clock
from aiservice.core.errors import EngineError, ModelUnknown
from aiservice.core.types import Asked, Chunk, Deadline, Embedding
from aiservice.engines import failures
from aiservice.engines.choices import several_choices
from aiservice.engines.model import EngineKind, EngineSpec, EngineStatus, Model
from aiservice.engines.port import Engine

REFRESH_S = 5.0
STARTING_REFRESH_S = 0.25
STARTING_S_MAX = 60.0
FIRST_LOOK_S = 1.0
NAME_LENGTH_MAX = 200
_LATEST = ":latest"
_FETCHING: frozenset[EngineKind] = frozenset({"ollama", "fake"})
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes."""

    engine: Engine
    model: Model

    def ask(self, asked: Asked, deadline: Deadline) -> AsyncGenerator[Chunk]:
        """The engine's chunks; engines give one choice, so that several are as many calls of it."""
        if isinstance(asked, Embedding):
            return self.engine.embed(self.model.name, asked, deadline)
        if asked.n > 1:
            return several_choices(self.engine, self.model.name, asked, deadline=deadline)
        return self.engine.generate(self.model.name, asked, deadline)


@dataclass(slots=True)
class _Seat:
    """An engine and what was last seen of it."""

    spec: EngineSpec
    engine: Engine
    looked: asyncio.Event
    models: tuple[Model, ...] = ()
    is_up: bool = False
    was_up: bool = False
    starting_since_s: float | None = None

    @property
    def group(self) -> str:
        return self.spec.group or self.spec.name

    @property
    def is_loaded(self) -> bool:
        """The embedded engine answers before its model does; others load a model when it is asked for."""
        return self.spec.kind != "llamacpp" or any(model.is_loaded for model in self.models)


class Registry:
    """The engines of one worker. `start` looks at each at once and then every `refresh_s` seconds until `aclose`."""

    def __init__(
        self,
        engines: Sequence[tuple[EngineSpec, Engine]],
        *,
        default_model: str,
        clock: Clock,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self._seats = [_Seat(spec, engine, asyncio.Event()) for spec, engine in engines]
        self._default_model = default_model
        self._default_name = default_model
        self._clock = clock
        self._refresh_s = refresh_s
        self._index: dict[str, Callable[[], Route]] = {}
        self._listed: list[Model] = []
        self._tasks: list[asyncio.Task[None]] = []

    def resolve(self, name: str) -> Route:
        """The route for `model`, `engine/model` or "" (the default); raises `ModelUnknown` with the nearest names.

        Where several replicas serve a model each call gets the next of them.
        """
        next_route = self._index.get(name)
        if next_route is None:
            raise self._unknown(name)
        return next_route()

    def models(self) -> list[Model]:
        """Every model once, replicas of it left out; those of an engine that is down too."""
        return list(self._listed)

    def default_name(self) -> str:
        """The plain name of the model that answers a request that names none."""
        return self._default_name

    def engine(self, name: str) -> Engine | None:
        """The engine of this name, for pulling models."""
        return next((seat.engine for seat in self._seats if seat.spec.name == name), None)

    def fetcher(self) -> Engine | None:
        """The first engine that fetches models by their names."""
        return next((seat.engine for seat in self._seats if seat.spec.kind in _FETCHING), None)

    def status(self) -> dict[str, tuple[EngineStatus, tuple[str, ...]]]:
        """Each engine's state and the names of its models; an optional engine that never answered is left out."""
        return {
            seat.spec.name: (self._status_of(seat), tuple(model.name for model in seat.models if seat.is_up))
            for seat in self._seats
            if seat.was_up or not seat.spec.may_be_absent
        }

    async def start(self) -> None:
        """Starts to look; returns when every engine was seen, at the latest after `FIRST_LOOK_S`."""
        self._tasks = [asyncio.create_task(self._keep_looking(seat)) for seat in self._seats]
        looks = [asyncio.create_task(seat.looked.wait()) for seat in self._seats]
        if looks:
            _, late = await asyncio.wait(looks, timeout=FIRST_LOOK_S)
            for look in late:
                look.cancel()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for seat in self._seats:
            await seat.engine.aclose()

    async def refresh(self) -> None:
        """Looks at every engine now."""
        await asyncio.gather(*(self._look(seat) for seat in self._seats))

    async def _keep_looking(self, seat: _Seat) -> None:
        while True:
            try:
                await self._look(seat)
            except Exception:
                # A fault in one look must not end all later looks at this engine.
                _logger.exception("looking at an engine failed", extra={"engine": seat.spec.name})
            seat.looked.set()
            is_starting = self._status_of(seat) == "starting"
            await asyncio.sleep(min(STARTING_REFRESH_S, self._refresh_s) if is_starting else self._refresh_s)

    async def _look(self, seat: _Seat) -> None:
        before = (seat.models, seat.is_up)
        try:
            models = await seat.engine.models()
        except EngineError as error:
            seat.is_up = False
            # One that never answered is silent; one that went away is said once.
            level = logging.WARNING if before[1] else logging.DEBUG
            _logger.log(level, "engine is down", extra={"engine": seat.spec.name, "error": str(error)})
        else:
            seat.models = tuple(_priced(model, seat.spec) for model in models)
            seat.is_up = seat.was_up = True
            if not before[1]:
                _logger.info("engine is up", extra={"engine": seat.spec.name, "models": len(models)})
        self._note_start(seat)
        if (seat.models, seat.is_up) != before:
            self._index_models()

    def _note_start(self, seat: _Seat) -> None:
        if seat.is_up and seat.is_loaded:
            seat.starting_since_s = None
        elif seat.starting_since_s is None:
            seat.starting_since_s = self._clock.monotonic_s()

    def _status_of(self, seat: _Seat) -> EngineStatus:
        if seat.is_up and seat.is_loaded:
            return "ok"
        if seat.starting_since_s is None:
            return "starting"
        is_embedded_late = self._clock.monotonic_s() - seat.starting_since_s > STARTING_S_MAX
        return "down" if seat.spec.kind != "llamacpp" or is_embedded_late else "starting"

    def _index_models(self) -> None:
        """Builds the look-up anew; called only when something changed, so that replicas keep their turn."""
        index: dict[str, Callable[[], Route]] = {}
        seats = sorted(self._seats, key=lambda seat: not seat.is_up)
        for seat in seats:
            for model in seat.models:
                peers = [peer for peer in seats if peer.group == seat.group]
                for id_, replicas in (
                    (model.name, [peer for peer in seats if peer.spec.kind == seat.spec.kind]),
                    (f"{seat.group}/{model.name}", peers),
                    (model.id, [seat]),
                ):
                    index.setdefault(id_, _rotation(replicas, model.name))
        for name in [name for name in index if name.endswith(_LATEST)]:
            index.setdefault(name.removesuffix(_LATEST), index[name])
        self._listed = _listed(self._seats)
        self._default_name = self._put_default(index)
        self._index = index

    def _put_default(self, index: dict[str, Callable[[], Route]]) -> str:
        """Gives DEFAULT_MODEL and the empty name their route; the embedded model stands in while it is missing."""
        named = index.get(self._default_model)
        engine = named().engine if named is not None else None
        is_available = any(seat.engine is engine and seat.is_up for seat in self._seats)
        embedded = next((seat for seat in self._seats if seat.spec.kind == "llamacpp" and seat.models), None)
        if not is_available and embedded is not None:
            named = index[self._default_model] = _rotation([embedded], embedded.models[0].name)
        if named is None:
            return self._default_model
        index[""] = named
        return named().model.name

    def _unknown(self, name: str) -> ModelUnknown:
        nearest = difflib.get_close_matches(
            name[:NAME_LENGTH_MAX], [id_ for id_ in self._index if id_], n=3, cutoff=0.5
        )
        asked = failures.cleaned(name, length_max=80)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else "GET /ai/models lists what there is."
        return ModelUnknown(f"There is no model {asked!r}; {hint}", param="model")


def _rotation(seats: Sequence[_Seat], name: str) -> Callable[[], Route]:
    """Gives the routes to a model in turn: over the engines that are up, or over all where none is."""
    serving = [(seat, model) for seat in seats for model in seat.models if model.name == name]
    up = [(seat, model) for seat, model in serving if seat.is_up]
    return cycle([Route(seat.engine, model) for seat, model in up or serving]).__next__


def _listed(seats: Sequence[_Seat]) -> list[Model]:
    listed: dict[str, Model] = {}
    for seat in sorted(seats, key=lambda seat: not seat.is_up):
        for model in seat.models:
            listed.setdefault(f"{seat.group}/{model.name}", model)
    return list(listed.values())


def _priced(model: Model, spec: EngineSpec) -> Model:
    price = spec.prices.get(model.name)
    if price is None:
        return model
    return replace(model, prompt_price_nano=price.prompt_nano, completion_price_nano=price.completion_nano)
