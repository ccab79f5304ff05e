"""The key names a request: the bytes can be read back, and every value that changes an answer changes the key."""

import math
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.cache import CacheKey, request_key
from aiservice.cache.key import VERSIONS, packed
from aiservice.core.types import Generation, Message

GENERATION = Generation(
    model="asked-for",
    messages=(Message("system", "Be brief."), Message("user", "What is Docker?")),
    temperature=0.7,
    max_tokens=500,
    top_p=0.9,
    seed=42,
    stop=("END",),
    response_format={"type": "json_object"},
)
OUTSIDE = {"tenant_id": "acme", "model": "smollm2:135m", "model_digest": "sha256:abc"}


def digest(generation: Generation = GENERATION, **outside: Any) -> str:
    return request_key(generation, **{**OUTSIDE, **outside}).digest


def unpacked(data: bytes) -> Any:
    """Reads `packed` bytes back; fails on anything left over."""
    value, rest = _unpack(data)
    assert rest == b""
    return value


def _unpack(data: bytes) -> tuple[Any, bytes]:
    tag, rest = data[:1], data[1:]
    if tag in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[tag], rest
    if tag == b"i":
        number, _, rest = rest.partition(b";")
        return int(number), rest
    if tag == b"d":
        return struct.unpack(">d", rest[:8])[0], rest[8:]
    length, _, rest = rest.partition(b":")
    if tag == b"s":
        return rest[: int(length)].decode("utf-8", "surrogatepass"), rest[int(length) :]
    items = []
    for _ in range(int(length) * (2 if tag == b"m" else 1)):
        item, rest = _unpack(rest)
        items.append(item)
    if tag == b"m":
        return dict(zip(items[::2], items[1::2], strict=True)), rest
    assert tag == b"l"
    return items, rest


def kinds(value: Any) -> Any:
    """A value with the kinds of its parts, so that 1, 1.0 and true differ, and 0.0 and -0.0."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [kinds(item) for item in value]
    return type(value).__name__, math.copysign(1, value) if isinstance(value, float) else 1, value


texts = st.text(st.characters(codec=None))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_packed_can_be_read_back(value: Any) -> None:
    assert kinds(unpacked(packed(value))) == kinds(value)


@given(values, values)
def test_two_values_share_bytes_only_if_they_are_the_same(first: Any, second: Any) -> None:
    assert (packed(first) == packed(second)) == (kinds(first) == kinds(second))


def test_the_layout_is_fixed() -> None:
    """Changing it without raising its version would let answers of another version be given."""
    value = ["aé", None, True, False, -1, 0.5, {"b": [], "a": {}}]
    assert packed(value) == (
        b"l7:" + b"s3:a\xc3\xa9" + b"n" + b"t" + b"f" + b"i-1;" + b"d\x3f\xe0\0\0\0\0\0\0" + b"m2:s1:am0:s1:bl0:"
    )


def test_the_key_is_the_digest_of_all_fields_in_order() -> None:
    every = [
        VERSIONS,
        "acme",
        "chat",
        "smollm2:135m",
        "sha256:abc",
        0.7,
        0.9,
        500,
        42,
        ["END"],
        {"type": "json_object"},
        ["system", "Be brief.", "user", "What is Docker?"],
    ]
    expected = sha256(packed(every)).hexdigest()
    assert request_key(GENERATION, **OUTSIDE) == CacheKey(expected, "acme", "smollm2:135m")


CHANGES: list[Callable[[Generation], Generation]] = [
    lambda g: replace(g, messages=(*g.messages, Message("user", "What is Docker?"))),
    lambda g: replace(g, messages=g.messages[1:]),
    lambda g: replace(g, messages=g.messages[::-1]),
    lambda g: replace(g, messages=(Message("user", "Be brief."), g.messages[1])),
    lambda g: replace(g, messages=(g.messages[0], Message("user", "What is Docker? "))),
    lambda g: replace(g, messages=(g.messages[0], Message("user", "what is Docker?"))),
    lambda g: replace(g, temperature=0.0),
    lambda g: replace(g, temperature=math.nextafter(0.7, 1)),
    lambda g: replace(g, top_p=None),
    lambda g: replace(g, top_p=0.7, temperature=0.9),
    lambda g: replace(g, max_tokens=501),
    lambda g: replace(g, max_tokens=42, seed=500),
    lambda g: replace(g, seed=None),
    lambda g: replace(g, seed=0),
    lambda g: replace(g, stop=()),
    lambda g: replace(g, stop=("E", "ND")),
    lambda g: replace(g, response_format=None),
    lambda g: replace(g, response_format={}),
    lambda g: replace(g, response_format={"type": "text"}),
    lambda g: replace(g, response_format={"type": "json_object", "strict": True}),
]


def test_every_change_of_a_parameter_is_another_key() -> None:
    digests = [digest()] + [digest(change(GENERATION)) for change in CHANGES]
    assert len(set(digests)) == len(CHANGES) + 1


def test_every_change_outside_the_request_is_another_key() -> None:
    digests = [
        digest(),
        digest(tenant_id="other"),
        digest(model="other"),
        digest(model_digest="other"),
        digest(operation="embed"),
        digest(tenant_id="acmes", model="mollm2:135m"),
    ]
    assert len(set(digests)) == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 1.0), (1, True), (1.0, True), (0, False), (0.0, -0.0), (0, None), ("1", 1), ("", None), ([], {}), ([[]], [])],
)
def test_values_of_other_kinds_do_not_merge(first: Any, second: Any) -> None:
    assert packed(first) != packed(second)
    assert digest(replace(GENERATION, response_format={"x": first})) != digest(
        replace(GENERATION, response_format={"x": second})
    )


def test_numbers_of_parameters_do_not_merge_across_kinds() -> None:
    assert len({digest(replace(GENERATION, temperature=value)) for value in (1, 1.0, True)}) == 3


def test_text_is_not_normalised() -> None:
    forms = ["é", "e\u0301", "É", " é", "é\n", "é\0", "\ud83d\ude00", "😀"]
    assert len({digest(replace(GENERATION, messages=(Message("user", form),))) for form in forms}) == len(forms)


def test_the_order_of_an_objects_fields_does_not_count_and_that_of_a_list_does() -> None:
    def of(response_format: dict[str, Any]) -> str:
        return digest(replace(GENERATION, response_format=response_format))

    assert of({"a": 1, "b": {"c": 2, "d": [1, 2]}}) == of({"b": {"d": [1, 2], "c": 2}, "a": 1})
    assert of({"a": [1, 2]}) != of({"a": [2, 1]})


def test_any_mapping_is_an_object() -> None:
    assert packed(MappingProxyType({"a": 1})) == packed({"a": 1})


def test_how_the_model_was_asked_for_and_whether_it_streams_stay_out() -> None:
    assert digest(replace(GENERATION, model="other", stream=True)) == digest()


def test_no_field_of_a_request_was_forgotten() -> None:
    """A new field of `Generation` goes into the key, or here with a reason why it cannot change an answer."""
    within = {"messages", "temperature", "top_p", "max_tokens", "seed", "stop", "response_format"}
    without = {"model", "stream"}
    assert {field.name for field in fields(Generation)} == within | without


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {"a": b""}, [1j]])
def test_what_json_does_not_have_has_no_key(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a JSON value"):
        packed(value)
