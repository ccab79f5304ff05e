"""The key names a request: the bytes can be read back, and every value that changes an answer changes the key."""

import math
import struct
import timeit
from collections.abc import Callable
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from aiservice.cache import CacheKey, request_key
from aiservice.cache.key import VERSIONS, _role, _start, packed
from aiservice.core.types import Embedding, Generation, Image, Message, Tool, ToolCall, ToolChoice

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


PLAIN = Generation("any", (Message("user", "What is Docker?"),), 0.7, 500)
CALL = ToolCall("call_1", "weather", '{"city":"Oslo"}')
RICH = Message("assistant", "Wait.", (Image("data:image/png;base64,AA=="),), (CALL,), "call_0", "clock")
# What few requests ask for, with another value than nobody's.
EXTRAS: dict[str, Any] = {
    "tools": (Tool("weather", "Tells it.", {"type": "object"}),),
    "tool_choice": ToolChoice("auto"),
    "n": 2,
    "logprobs": 0,
    "top_k": 40,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}


def digest(asked: Generation | Embedding = GENERATION, **outside: Any) -> str:
    return request_key(asked, **{**OUTSIDE, **outside}).digest


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
        None,
    ]
    messages = b"l2:" + b"".join(map(packed, ("system", "Be brief.", "user", "What is Docker?")))
    start = packed(every).replace(b"l12:", b"l13:", 1)
    expected = sha256(start + messages).hexdigest()
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


def test_every_extra_and_every_change_of_it_is_another_key() -> None:
    asked = [PLAIN, *(replace(PLAIN, **{name: value}) for name, value in EXTRAS.items())]
    asked += [
        replace(PLAIN, frequency_penalty=0.5),
        replace(PLAIN, presence_penalty=0.5),
        replace(PLAIN, logprobs=1),
        replace(PLAIN, tool_choice=ToolChoice("required")),
        replace(PLAIN, tool_choice=ToolChoice("required", "weather")),
        replace(PLAIN, tool_choice=ToolChoice("auto", None, False)),
        *(
            replace(PLAIN, tools=(tool,))
            for tool in (
                Tool("weather"),
                Tool("weather", strict=True),
                Tool("weather", "Tells it."),
                Tool("weather", "Tells it.", {"type": "object", "properties": {}}),
            )
        ),
    ]
    assert len({digest(one) for one in asked}) == len(asked)


def test_every_change_of_a_message_is_another_key() -> None:
    messages = [
        RICH,
        replace(RICH, role="user"),
        replace(RICH, content="Wait"),
        replace(RICH, images=()),
        replace(RICH, tool_calls=()),
        replace(RICH, tool_calls=(CALL, CALL)),
        replace(RICH, tool_calls=(replace(CALL, id="call_2"),)),
        replace(RICH, tool_calls=(replace(CALL, name="clock"),)),
        replace(RICH, tool_calls=(replace(CALL, arguments="{}"),)),
        replace(RICH, tool_call_id=None),
        replace(RICH, tool_name=None),
        Message("tool", "Wait."),
        Message("assistant", "Wait."),
    ]
    assert len({digest(replace(PLAIN, messages=(message,))) for message in messages}) == len(messages)


def test_every_change_outside_the_request_is_another_key() -> None:
    digests = [
        digest(),
        digest(tenant_id="other"),
        digest(model="other"),
        digest(model_digest="other"),
        digest(tenant_id="acmes", model="mollm2:135m"),
    ]
    assert len(set(digests)) == 5


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
    within = {"messages", "temperature", "top_p", "max_tokens", "seed", "stop", "response_format", *EXTRAS}
    without = {"model", "stream"}
    assert {field.name for field in fields(Generation)} == within | without
    assert {field.name for field in fields(Embedding)} == {"model", "inputs", "dimensions"}
    assert {field.name for field in fields(Message)} == {field.name for field in fields(RICH)}


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {"a": b""}, [1j]])
def test_what_json_does_not_have_has_no_key(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a JSON value"):
        packed(value)


GOLDEN = [
    ("b937d52242e98f47ba45cef43d120db1b4457f571dd392da840fdf17fd0ff3c1", {}, {}),
    (
        "10c7e34b4da6e6281299ffe6a382263a1a9051e27fc9899ccc80e75745a0e752",
        {
            "messages": (Message("system", "Be brief."), Message("user", "What is Docker? é 😀")),
            "top_p": 0.9,
            "seed": 42,
            "stop": ("END",),
            "response_format": {"type": "json_object", "schema": {"b": [1, 1.0, True, None], "a": {}}},
        },
        {},
    ),
]


@pytest.mark.parametrize(("expected", "within", "outside"), GOLDEN)
def test_the_digests_of_some_requests_stay_as_they_are(
    expected: str, within: dict[str, Any], outside: dict[str, Any]
) -> None:
    """Another digest for the same request makes every kept answer a miss, and needs another layout's number."""
    assert digest(replace(PLAIN, **within), **outside) == expected


def test_what_is_remembered_of_a_request_does_not_mix() -> None:
    """Names and roles are packed once; the same text in another place is another request, in whatever order asked."""
    places = [("a", "b", "c"), ("b", "a", "c"), ("a", "c", "b"), ("ab", "", "c"), ("a", "b", "c")]
    digests = [digest(tenant_id=tenant, model=model, model_digest=hashed) for tenant, model, hashed in places * 2]
    assert len(set(digests)) == 4
    assert digests[0] == digests[4] == digests[5]
    roles = ("system", "user", "assistant", "tool", "user")
    digests = [digest(replace(GENERATION, messages=(Message(role, "x"),))) for role in roles]
    assert len(set(digests)) == 4
    assert digests[1] == digests[4]


def test_a_key_carries_the_names_that_it_is_cleared_by() -> None:
    found = request_key(GENERATION, tenant_id="t", model="resolved", model_digest="d")
    assert (found.tenant_id, found.model) == ("t", "resolved")
    assert len(found.digest) == 64


def test_lone_surrogates_in_every_text_have_a_key() -> None:
    lone = "\ud83d"
    asked = replace(
        GENERATION, messages=(Message("user", lone),), stop=(lone,), response_format={lone: lone, "list": [lone]}
    )
    assert digest(asked) == digest(asked)
    assert digest(tenant_id=lone) != digest(model=lone) != digest(model_digest=lone)


@pytest.mark.parametrize("name", ["temperature", "top_p", "max_tokens", "seed", "stop", "response_format"])
def test_a_value_that_json_does_not_have_is_refused_in_every_field(name: str) -> None:
    with pytest.raises(TypeError, match=r"^bytes is not a JSON value$"):
        digest(replace(GENERATION, **{name: b"x"}))


def test_a_deep_and_long_value_is_packed_in_a_moment() -> None:
    """Each level must not copy what lies within it: 400 of them would copy 400 MB."""
    value: Any = "x" * 1_000_000
    for _ in range(400):
        value = [value]
    assert len(packed(value)) == 1_000_000 + len("s1000000:") + 400 * len("l1:")
    assert min(timeit.repeat(lambda: packed(value), number=1, repeat=5)) < 0.03


EMBEDDING = Embedding("asked-for", ("one", "two"))


def test_an_embedding_has_a_key_of_its_own() -> None:
    every = [VERSIONS, "acme", "embed", "smollm2:135m", "sha256:abc", None, ["one", "two"]]
    asked = [
        EMBEDDING,
        Embedding("asked-for", ("two", "one")),
        Embedding("asked-for", ("one two",)),
        Embedding("asked-for", ("one", "two"), 2),
    ]
    assert digest(EMBEDDING) == sha256(packed(every)).hexdigest()
    assert len({digest(one) for one in asked}) == len(asked)
    assert digest(replace(EMBEDDING, model="other")) == digest(EMBEDDING)


def test_what_is_remembered_is_bounded() -> None:
    """A caller's names and roles must not fill the memory."""
    assert (_start.cache_parameters()["maxsize"], _role.cache_parameters()["maxsize"]) == (1_024, 16)
