"""Kinds of fields that several doors take, each with the sentence for a value that is none."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}$"
_LABEL = r"^[^\x00-\x1f\x7f]*$"
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
# Two names with a stroke between, which no name has in it; the second is empty in the tenant's own rule.
_RULE_CURSOR = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}/[A-Za-z0-9._@:-]{0,64}$"

Name = Annotated[str, StringConstraints(pattern=_NAME)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_LABEL)]
Uuid = Annotated[str, StringConstraints(pattern=_UUID)]
RuleCursor = Annotated[str, StringConstraints(pattern=_RULE_CURSOR)]
Quota = Annotated[int, Field(ge=1, le=1_000_000_000)]

SENTENCES: Mapping[str, str] = {
    _NAME: "takes 1 to 64 letters, digits and . _ @ : -, the first of them a letter or a digit",
    _LABEL: "has a control character in it; remove it",
    _UUID: "takes a UUID as this service gave it",
    _RULE_CURSOR: "takes next_cursor as this route gave it",
}
