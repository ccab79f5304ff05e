import asyncio
import logging
from collections.abc import Sequence

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import EngineUnreachable, ModelUnknown
from aiservice.engines import EngineSpec, Model, Price, Registry
from aiservice.engines.fake import FakeEngine


class Stub(FakeEngine):
    """An engine that serves the models it is told to, or is down."""

    def __init__(self, name: str, *names: str) -> None:
        super().__init__(name)
        self.names = names
        self.is_down = False
        self.is_loaded = True
        self.fault: Exception | None = None
        self.is_closed = False
        self.looks = 0

    async def models(self) -> Sequence[Model]:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        if self.is_down:
            raise EngineUnreachable
        return [Model(name, self.name, "d", None, 8_192, self.is_loaded, ("chat", "stream")) for name in self.names]

    async def aclose(self) -> None:
        self.is_closed = True


def ollama(engine: Stub, **fields: object) -> tuple[EngineSpec, Stub]:
    return EngineSpec(engine.name, "ollama", "", group="ollama", **fields), engine


def embedded(engine: Stub) -> tuple[EngineSpec, Stub]:
    return EngineSpec(engine.name, "llamacpp", ""), engine


def openai(engine: Stub, **fields: object) -> tuple[EngineSpec, Stub]:
    return EngineSpec(engine.name, "openai_compat", "", **{"group": "openai", **fields}), engine


async def registry_of(*engines: tuple[EngineSpec, Stub], default_model: str = "llama3.2:1b") -> Registry:
    registry = Registry(engines, default_model=default_model, clock=ManualClock())
    await registry.refresh()
    return registry


async def test_a_model_goes_by_its_name_and_by_its_engines():
    engine = Stub("ollama", "llama3.2:1b", "org/model")
    registry = await registry_of(ollama(engine))

    for name in ("llama3.2:1b", "ollama/llama3.2:1b"):
        route = registry.resolve(name)
        assert (route.engine, route.model.name, route.model.id) == (engine, "llama3.2:1b", "ollama/llama3.2:1b")
    assert registry.resolve("org/model").model.name == "org/model"
    assert registry.resolve("ollama/org/model").model.name == "org/model"


async def test_latest_can_be_left_out():
    registry = await registry_of(ollama(Stub("ollama", "mistral:latest")))

    assert registry.resolve("mistral").model.name == "mistral:latest"
    assert registry.resolve("ollama/mistral").model.name == "mistral:latest"


async def test_an_unknown_model_is_told_the_nearest():
    registry = await registry_of(ollama(Stub("ollama", "llama3.2:1b", "qwen3:4b")))

    with pytest.raises(ModelUnknown, match=r"no model 'llama3\.2:2b'; did you mean llama3\.2:1b") as caught:
        registry.resolve("llama3.2:2b")
    assert caught.value.param == "model"
    with pytest.raises(ModelUnknown, match="GET /ai/models"):
        registry.resolve("zzzzzz" * 10_000)


async def test_nothing_is_known_before_the_first_look():
    registry = Registry([ollama(Stub("ollama", "a"))], default_model="a", clock=ManualClock())

    with pytest.raises(ModelUnknown):
        registry.resolve("a")
    assert registry.models() == []
    assert registry.status() == {"ollama": ("starting", ())}


async def test_replicas_take_turns():
    first, second = Stub("openai", "m", "only-first"), Stub("openai-2", "m")
    registry = await registry_of(openai(first), openai(second))

    for name in ("m", "openai/m"):
        assert {registry.resolve(name).engine for _ in range(2)} == {first, second}
    assert {registry.resolve("openai-2/m").engine for _ in range(3)} == {second}
    assert {registry.resolve("only-first").engine for _ in range(3)} == {first}
    assert [model.id for model in registry.models()] == ["openai/m", "openai/only-first"]


async def test_a_replica_that_is_down_is_left_out_until_it_is_back():
    first, second = Stub("openai", "m"), Stub("openai-2", "m")
    registry = await registry_of(openai(first), openai(second))

    first.is_down = True
    await registry.refresh()
    assert {registry.resolve("m").engine for _ in range(3)} == {second}
    assert registry.models()[0].id == "openai-2/m"

    first.is_down = False
    await registry.refresh()
    assert {registry.resolve("m").engine for _ in range(2)} == {first, second}


async def test_the_same_name_on_engines_of_other_kinds_is_no_replica():
    first, second = Stub("ollama", "m"), Stub("openai", "m")
    registry = await registry_of(ollama(first), openai(second))

    assert {registry.resolve("m").engine for _ in range(3)} == {first}
    assert registry.resolve("openai/m").engine is second
    assert [model.id for model in registry.models()] == ["ollama/m", "openai/m"]


async def test_an_engine_that_went_away_keeps_its_names():
    engine = Stub("ollama", "m")
    registry = await registry_of(ollama(engine))
    engine.is_down = True
    await registry.refresh()

    assert registry.resolve("m").engine is engine
    assert registry.status() == {"ollama": ("down", ())}


async def test_turns_go_on_over_looks_that_change_nothing():
    registry = await registry_of(openai(Stub("openai", "m")), openai(Stub("openai-2", "m")))

    turns = []
    for _ in range(4):
        turns.append(registry.resolve("m").engine.name)
        await registry.refresh()

    assert turns[0] != turns[1]
    assert turns[:2] == turns[2:]


async def test_the_default_model_answers_when_none_is_named():
    registry = await registry_of(embedded(Stub("llamacpp", "small")), ollama(Stub("ollama", "llama3.2:1b")))

    assert registry.resolve("").model.id == "ollama/llama3.2:1b"
    assert registry.resolve("llama3.2:1b").model.id == "ollama/llama3.2:1b"
    assert registry.default_name() == "llama3.2:1b"


async def test_the_embedded_model_stands_in_for_the_default_only():
    engine = Stub("ollama", "llama3.2:1b", "other")
    registry = await registry_of(embedded(Stub("llamacpp", "small")), ollama(engine))
    engine.is_down = True
    await registry.refresh()

    assert registry.resolve("").model.id == "llamacpp/small"
    assert registry.resolve("llama3.2:1b").model.id == "llamacpp/small"
    assert registry.resolve("other").model.id == "ollama/other"
    assert registry.default_name() == "small"
    with pytest.raises(ModelUnknown):
        registry.resolve("unknown")


async def test_without_an_embedded_model_a_missing_default_is_unknown():
    registry = await registry_of(ollama(Stub("ollama", "other")))

    for name in ("", "llama3.2:1b"):
        with pytest.raises(ModelUnknown):
            registry.resolve(name)
    assert registry.default_name() == "llama3.2:1b"


async def test_the_embedded_engine_starts_for_a_minute_and_then_is_down():
    engine, clock = Stub("llamacpp", "small"), ManualClock()
    engine.is_loaded = False
    registry = Registry([embedded(engine)], default_model="small", clock=clock)
    await registry.refresh()

    assert registry.status() == {"llamacpp": ("starting", ("small",))}
    assert registry.resolve("small").engine is engine
    clock.advance_s(61)
    assert registry.status() == {"llamacpp": ("down", ("small",))}

    engine.is_loaded = True
    await registry.refresh()
    assert registry.status() == {"llamacpp": ("ok", ("small",))}


async def test_an_optional_engine_is_silent_until_it_has_answered(caplog: pytest.LogCaptureFixture):
    engine = Stub("ollama", "m")
    engine.is_down = True
    with caplog.at_level(logging.INFO):
        registry = await registry_of(ollama(engine, may_be_absent=True))

    assert registry.status() == {}
    assert caplog.records == []

    engine.is_down = False
    await registry.refresh()
    assert registry.status() == {"ollama": ("ok", ("m",))}
    engine.is_down = True
    await registry.refresh()
    assert registry.status() == {"ollama": ("down", ())}


async def test_an_engine_that_goes_away_is_said_once(caplog: pytest.LogCaptureFixture):
    engine = Stub("ollama", "m")
    registry = await registry_of(ollama(engine))
    engine.is_down = True

    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await registry.refresh()

    assert [record.getMessage() for record in caplog.records] == ["engine is down"]


async def test_prices_are_put_on_the_models():
    prices = {"m": Price(150, 600)}
    registry = await registry_of(openai(Stub("cloud", "m", "free"), group="cloud", prices=prices))

    assert [(model.prompt_price_nano, model.completion_price_nano) for model in registry.models()] == [
        (150, 600),
        (0, 0),
    ]


async def test_it_looks_at_once_and_then_again():
    engine = Stub("ollama", "m")
    registry = Registry([ollama(engine)], default_model="m", clock=ManualClock(), refresh_s=0.01)

    await registry.start()
    assert registry.resolve("").engine is engine
    engine.names = ("m", "new")
    await asyncio.sleep(0.05)
    assert registry.resolve("new").engine is engine
    await registry.aclose()

    looks = engine.looks
    await asyncio.sleep(0.03)
    assert engine.looks == looks
    assert engine.is_closed


async def test_a_fault_in_one_look_does_not_end_the_others(caplog: pytest.LogCaptureFixture):
    engine = Stub("ollama", "m")
    engine.fault = ValueError("a fault")
    registry = Registry([ollama(engine)], default_model="m", clock=ManualClock(), refresh_s=0.01)
    await registry.start()
    engine.fault = None
    await asyncio.sleep(0.05)

    assert registry.resolve("m").engine is engine
    assert "looking at an engine failed" in caplog.text
    await registry.aclose()


async def test_a_start_without_engines():
    registry = Registry([], default_model="m", clock=ManualClock())

    await registry.start()

    assert registry.status() == {}
    await registry.aclose()


async def test_an_engine_by_its_name():
    engine = Stub("ollama", "m")
    registry = await registry_of(ollama(engine))

    assert registry.engine("ollama") is engine
    assert registry.engine("none") is None
