"""Schemas whose references unfold: what is bounded, and what is not in the way of ordinary ones."""

from typing import Any

import pytest

from aiservice.gateway.schema_references import bound


def chain(length: int, reference: str = "#/$defs/a{}") -> dict[str, Any]:
    """Each definition refers to the next one twice."""
    defs: dict[str, Any] = {
        f"a{row}": {"$anchor": f"a{row}", "anyOf": [{"$ref": reference.format(row + 1)}] * 2} for row in range(length)
    }
    defs[f"a{length}"] = {"$anchor": f"a{length}", "type": "string"}
    return {"$defs": defs, "$ref": reference.format(0)}


@pytest.mark.parametrize("reference", ["#/$defs/a{}", "#a{}", "#/%24defs/a{}"])
def test_references_that_double_are_bounded(reference: str):
    with pytest.raises(ValueError, match="unfold to more than 2000"):
        bound(chain(40, reference))

    bound(chain(4, reference))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"$id": "https://example.org/root", "anyOf": [{"type": "null"}, {"$ref": "#/anyOf/0"}]},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
        {"$ref": "#/nowhere/0"},
        True,
    ],
)
def test_ordinary_schemas_are_let_through(schema: Any):
    bound(schema)


@pytest.mark.parametrize("schema", [{"$ref": "http://127.0.0.1/x"}, {"$ref": "#none"}, {"items": {"$id": "x"}}])
def test_what_is_not_inside_is_refused(schema: Any):
    with pytest.raises(ValueError, match="refer"):
        bound(schema)


def test_a_long_row_of_references_is_refused():
    defs = {f"a{row}": {"$ref": f"#/$defs/a{row + 1}"} for row in range(1_900)}
    with pytest.raises(ValueError, match="too deeply"):
        bound({"$defs": defs, "$ref": "#/$defs/a0"})
