"""The form that an answer must have: JSON, JSON of a schema, tool calls whose arguments satisfy their tool's schema.

Engines are told of it and most enforce it by a grammar; what they give is checked all the same. Schemas are the
caller's: nothing that they refer to is fetched, and the work on their patterns and references is bounded.
"""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from aiservice.core.errors import AnswerInvalid, FieldInvalid
from aiservice.core.types import Asked, Chunk, Completion, Embedding, Generation
from aiservice.gateway.schema_references import bound
from aiservice.gateway.schema_steps import refuse_endless

DETAIL_LENGTH_MAX = 300
# Look-around is needed (Pydantic writes it for decimals), so that steps are bounded, and the size of a pattern too.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=1_000_000)


class AnswerForm:
    """What `check` looks for; nothing where the caller asked for nothing."""

    def __init__(
        self,
        *,
        is_json: bool = False,
        schema: jsonschema_rs.Validator | None = None,
        tools: Mapping[str, jsonschema_rs.Validator] | None = None,
    ) -> None:
        self._is_json = is_json
        self._schema = schema
        self._tools = tools or {}

    def check(self, completion: Completion) -> None:
        """Raises `AnswerInvalid` for a choice that is not of the form; one that was cut at its length may break it."""
        if not (self._is_json or self._tools):
            return
        for choice in completion.choices:
            if choice.finish_reason in {"stop", "tool_calls"}:
                self._check_choice(choice)

    def _check_choice(self, choice: Chunk) -> None:
        for call in choice.tool_calls:
            if call.name in self._tools:
                _check(call.arguments, self._tools[call.name], f"the arguments of {call.name}")
        if self._is_json and not choice.tool_calls:
            _check(choice.text, self._schema, "the answer")


NO_FORM = AnswerForm()


def form_of(asked: Asked) -> AnswerForm:
    """The form of a request's answer; raises `FieldInvalid` for a schema that is none."""
    if isinstance(asked, Embedding) or not (asked.response_format or asked.tools):
        return NO_FORM
    kind, schema = _response_schema(asked)
    tools = {
        tool.name: _validator(tool.parameters, f"The schema of the tool {tool.name}", "tools")
        for tool in asked.tools
        if tool.strict and tool.parameters is not None
    }
    return AnswerForm(
        is_json=kind in {"json_object", "json_schema"},
        schema=None if schema is None else _validator(schema, "The schema for the answer", "response_format"),
        tools=tools,
    )


def _response_schema(generation: Generation) -> tuple[str | None, Any]:
    response_format = generation.response_format or {}
    kind = response_format.get("type")
    if kind == "json_schema":
        return kind, response_format["json_schema"].get("schema")
    return kind, {"type": "object"} if kind == "json_object" else None


def _validator(schema: Any, what: str, param: str) -> jsonschema_rs.Validator:
    try:
        bound(schema)
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=_PATTERNS)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError) as error:
        raise FieldInvalid(f"{what} is no JSON schema: {_first_line(error)}.", param=param) from None


def _check(text: str, schema: jsonschema_rs.Validator | None, what: str) -> None:
    try:
        value = msgspec.json.decode(text)
        if schema is not None:
            refuse_endless(schema, value)
            schema.validate(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerInvalid(f"The model's answer is not what was asked for: {what} is not JSON; try again.") from error
    except jsonschema_rs.ValidationError as error:
        raise AnswerInvalid(
            f"The model's answer is not what was asked for: {what} does not satisfy its schema at "
            f"{'/'.join(map(str, error.instance_path)) or 'its top'}; try again.",
            detail=error.message[:DETAIL_LENGTH_MAX],
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it cannot be read"])[0][:DETAIL_LENGTH_MAX].rstrip(".")
