from typing import Any

import jsonschema_rs
import pytest

from aiservice.core.errors import EngineRefused
from aiservice.engines.examples import FORMATS, example

NODE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    "required": ["name", "next"],
}
TREE = {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}}
STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True}


def an_object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, "text"),
        ({}, "text"),
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "texttext"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": 4, "multipleOf": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 0),
        ({"type": ["null"]}, None),
        ({"const": None}, None),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 3}, [1, 2, 2]),
        (STRINGS, ["text", "text1", "text2"]),
        ({**STRINGS, "items": {"enum": ["x", "y", "z"]}}, ["x", "y", "z"]),
        ({**STRINGS, "items": {"type": "integer", "maximum": 0}}, [0, -1, -2]),
        ({"type": "object"}, {}),
        (an_object("a", a={"type": "string"}, b={"type": "string"}), {"a": "text"}),
        ({"required": ["a"], "additionalProperties": {"type": "integer"}}, {"a": 0}),
        ({"type": "object", "minProperties": 2, "properties": {"a": {"const": 1}}}, {"a": 1, "key1": "text"}),
        (an_object(a=an_object(b={"type": "boolean"})), {"a": {"b": False}}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 0),
        ({"oneOf": [False, {"const": 2}]}, 2),
        ({"allOf": [an_object(a={"const": 1}), an_object(b={"const": 2})]}, {"a": 1, "b": 2}),
        ({**an_object(a={"const": 1}), "anyOf": [an_object(b={"const": 2})]}, {"a": 1, "b": 2}),
        ({"allOf": [{"$ref": "#/$defs/A"}, {"minimum": 4}], "$defs": {"A": {"type": "integer"}}}, 4),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 5}}}, 5),
        ({"$ref": "#/definitions/A", "definitions": {"A": {"const": 5}}}, 5),
        (TREE, {"name": "text", "next": None}),
    ],
)
def test_the_smallest_value(schema: Any, value: Any):
    assert example(schema) == value
    assert jsonschema_rs.is_valid(schema, example(schema))


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str):
    schema = {"type": "string", "format": name}

    validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    assert validator.is_valid(example(schema))
    assert not validator.is_valid("text") or name == "hostname"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"anyOf": [False]},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"$ref": "#/$defs/A"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"$ref": "#/$defs/A", "$defs": {"A": an_object(a={"$ref": "#/$defs/A"})}},
    ],
)
def test_schemas_without_a_value(schema: Any):
    with pytest.raises(EngineRefused, match="no value of the schema"):
        example(schema)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Jason is 25 years old", {"name": "Jason", "age": 25}),
        ("Extract: Jason is 25 years old.", {"name": "Jason", "age": 25}),
        ("Extract Jason is 25 years old.", {"name": "Jason", "age": 25}),
        ("Please Call Ann Lee. She is 40, not 41, says Bob", {"name": "Ann Lee", "age": 40}),
        ("What do you know of 'jason' and Paul, of 3.5 and 30?", {"name": "jason", "age": 30}),
        ("What is the weather in San Francisco, CA? In 3 days.", {"name": "San Francisco, CA", "age": 3}),
        ("Create a customer named “你好啊集团” (Hello Group)", {"name": "你好啊集团", "age": 0}),
        ("it isn't what it's called: -7 of v2", {"name": "text", "age": -7}),
        ("", {"name": "text", "age": 0}),
    ],
)
def test_what_a_text_says_goes_first(text: str, value: Any):
    assert example(an_object(name={"type": "string"}, age={"type": "integer"}), text) == value


def test_each_thing_that_a_text_says_is_taken_once_and_only_where_it_fits():
    schema = an_object(
        small={"type": "integer", "maximum": 9},
        exact={"type": "number"},
        more={"type": "integer"},
        short={"type": "string", "maxLength": 4},
        long={"type": "string"},
        last={"type": "string"},
    )

    assert example(schema, "12 of 2.5 and 5 in Oslo with Barbara") == {
        "small": 5,
        "exact": 12,
        "more": 0,
        "short": "Oslo",
        "long": "Barbara",
        "last": "text",
    }
