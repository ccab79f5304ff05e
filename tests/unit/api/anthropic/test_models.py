"""Anthropic's list of models, in pages."""

from collections.abc import Sequence
from typing import Any

import pytest

from aiservice.api.anthropic.models import AnthropicModelPage, anthropic_model, anthropic_page
from aiservice.core.errors import FieldInvalid
from aiservice.engines import Model


def model(name: str) -> Model:
    return Model(name, "fake", name, None, 4_096, True, ("chat", "stream"))


MODELS = [anthropic_model(name, model(name), max_tokens=1_024) for name in "abcde"]


def page(limit: int = 2, **cursor: Any) -> AnthropicModelPage:
    return anthropic_page(MODELS, limit=limit, **cursor)


def ids(found: AnthropicModelPage) -> str:
    return "".join([one.id for one in found.data])


def test_a_model_has_every_field() -> None:
    assert MODELS[0].model_dump(mode="json") == {
        "id": "a",
        "type": "model",
        "display_name": "a",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 4_096,
        "max_tokens": 1_024,
    }


@pytest.mark.parametrize(
    ("cursor", "shown", "has_more"),
    [
        ({}, "ab", True),
        ({"after_id": "b"}, "cd", True),
        ({"after_id": "d"}, "e", False),
        ({"after_id": "e"}, "", False),
        ({"before_id": "e"}, "cd", True),
        ({"before_id": "c"}, "ab", False),
        ({"before_id": "b"}, "a", False),
        ({"before_id": "a"}, "", False),
        ({"limit": 5}, "abcde", False),
        ({"limit": 1_000}, "abcde", False),
    ],
)
def test_a_page_and_whether_there_is_another(cursor: dict[str, Any], shown: str, has_more: bool) -> None:
    found = page(**cursor)
    assert (ids(found), found.has_more) == (shown, has_more)
    assert (found.first_id, found.last_id) == ((shown[0], shown[-1]) if shown else (None, None))


def test_pages_walk_the_whole_list_in_both_directions() -> None:
    forth: list[Sequence[str]] = []
    found = page()
    while found.has_more:
        forth.append(ids(found))
        found = page(after_id=found.last_id)
    assert "".join([*map(str, forth), ids(found)]) == "abcde"
    found = page(before_id="e")
    assert ids(page(before_id=found.first_id)) + ids(found) == "abcd"


def test_no_model_is_an_empty_page() -> None:
    found = anthropic_page([], limit=20)
    assert found.model_dump() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("cursor", [{"after_id": "x"}, {"before_id": "x"}, {"after_id": "a", "before_id": "c"}])
def test_a_cursor_that_is_none_is_refused(cursor: dict[str, str]) -> None:
    with pytest.raises(FieldInvalid):
        page(**cursor)
