"""Kinds of fields that several doors take: Pydantic's, each with a sentence for a value that is none, and msgspec's."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}$"
_LABEL = r"^[^\x00-\x1f\x7f]*$"
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
# Two names with a stroke between, which no name has in it; the second is empty in the tenant's own rule.
_RULE_CURSOR = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}/[A-Za-z0-9._@:-]{0,64}$"


def _refuse_numbers(value: object) -> object:
    """Pydantic takes a number for seconds since 1970, which no client means to send."""
    if isinstance(value, str) and "T" in value.upper():
        return value
    raise PydanticCustomError("moment", "takes a time such as 2026-01-31T20:03:40Z")


Name = Annotated[str, StringConstraints(pattern=_NAME)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_LABEL)]
Uuid = Annotated[str, StringConstraints(pattern=_UUID)]
RuleCursor = Annotated[str, StringConstraints(pattern=_RULE_CURSOR)]
Quota = Annotated[int, Field(ge=1, le=1_000_000_000)]
Moment = Annotated[AwareDatetime, BeforeValidator(_refuse_numbers)]

# The hot doors'.
Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Count = Annotated[int, msgspec.Meta(ge=1)]
TopK = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
ToolName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
CallId = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

SENTENCES: Mapping[str, str] = {
    _NAME: "takes 1 to 64 letters, digits and . _ @ : -, the first of them a letter or a digit",
    _LABEL: "has a control character in it; remove it",
    _UUID: "takes a UUID as this service gave it",
    _RULE_CURSOR: "takes next_cursor as this route gave it",
}
