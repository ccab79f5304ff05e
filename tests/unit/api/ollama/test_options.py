"""Ollama's options: taken, refused where they would change the answer, ignored where the engine decides."""

from typing import Any

import msgspec
import pytest

from aiservice.api.ollama.options import NEUTRAL, OllamaOptions
from aiservice.api.parse import decode
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import load
from aiservice.keys import LOCAL_CALLER

SETTINGS = load({"ENVIRONMENT": "development"})
_decoder = msgspec.json.Decoder(OllamaOptions)


def read(**options: Any) -> OllamaOptions:
    return decode(_decoder, msgspec.json.encode(options))


@pytest.mark.parametrize("name", NEUTRAL)
def test_what_would_change_the_answer_is_refused_by_name(name: str) -> None:
    with pytest.raises(FieldInvalid, match=rf"options\.{name} is not supported") as refused:
        read(**{name: 3}).refuse_unsupported()
    assert refused.value.param == f"options.{name}"


@pytest.mark.parametrize("name", NEUTRAL)
def test_and_taken_where_it_changes_nothing(name: str) -> None:
    read(**{name: NEUTRAL[name]}).refuse_unsupported()
    read(**{name: None}).refuse_unsupported()


def test_how_the_engine_runs_is_ignored_as_is_what_nobody_knows() -> None:
    options = read(num_ctx=32_768, num_keep=4, num_gpu=1, num_thread=8, use_mmap=True, mirostat_tau=5.0, novel="x")
    options.refuse_unsupported()
    assert options == OllamaOptions()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 2.1},
        {"temperature": "hot"},
        {"num_predict": -3},
        {"num_predict": 1.5},
        {"top_p": 1.1},
        {"top_k": -1},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"presence_penalty": 2.5},
        {"seed": 2**63},
    ],
)
def test_values_out_of_bounds_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalid) as refused:
        read(**options)
    assert (refused.value.param or "").startswith(next(iter(options)))


def test_any_seed_is_no_seed() -> None:
    assert read(seed=-1).seed_or_none() is None
    assert read(seed=0).seed_or_none() == 0
    assert read().seed_or_none() is None


@pytest.mark.parametrize("asked", [0, -1, -2, 1_000_000])
def test_until_it_ends_is_the_tiers_largest(asked: int) -> None:
    largest = SETTINGS.limits.max_tokens_of(LOCAL_CALLER.tier)
    assert read(num_predict=asked).max_tokens(SETTINGS, LOCAL_CALLER) == largest


def test_a_number_of_tokens_is_taken_as_it_is() -> None:
    assert read(num_predict=7).max_tokens(SETTINGS, LOCAL_CALLER) == 7
    assert read().max_tokens(SETTINGS, LOCAL_CALLER) == SETTINGS.engines.max_tokens
