"""What chat and completions are asked alike: the model, how it is to say it, and what cannot be had."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from aiservice.api.fields import Count, ModelName, Penalty, Seed, Stop, Temperature, Unit
from aiservice.core.errors import FieldInvalid

CHOICES_MAX = 8
_NOTHING: tuple[Any, ...] = (None, [], {})

# What cannot be had, with the values that ask for nothing. The words also keep 0 and false apart: typing takes for one
# what is equal.
Unset = Annotated[Any, msgspec.Meta(description="Not supported.", extra_json_schema={"enum": [*_NOTHING]})]
UnsetOrZero = Annotated[
    Any, msgspec.Meta(description="Not supported, but for 0.", extra_json_schema={"enum": [*_NOTHING, 0]})
]
UnsetOrOne = Annotated[
    Any, msgspec.Meta(description="Not supported, but for 1.", extra_json_schema={"enum": [*_NOTHING, 1]})
]
UnsetOrFalse = Annotated[
    Any, msgspec.Meta(description="Not supported, but for false.", extra_json_schema={"enum": [*_NOTHING, False]})
]
UnsetOrEmpty = Annotated[
    Any, msgspec.Meta(description="Not supported, if not empty.", extra_json_schema={"enum": [*_NOTHING, ""]})
]


class OpenAIStreamOptions(msgspec.Struct):
    """What a stream tells besides the answer."""

    include_usage: bool | None = None


class OpenAIRequest(msgspec.Struct, kw_only=True):
    """The fields that both take; `top_k` is not OpenAI's, but its clients send it to engines. -1 is all, as 0."""

    model: ModelName | None = None
    temperature: Temperature | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=CHOICES_MAX)] | None = None
    max_tokens: Count | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], msgspec.Meta(max_length=16)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: OpenAIStreamOptions | None = None
    logit_bias: Unset = None
    min_p: UnsetOrZero = None
    min_tokens: UnsetOrZero = None
    repetition_penalty: UnsetOrOne = None
    ignore_eos: UnsetOrFalse = None
    stop_token_ids: Unset = None
    guided_json: Unset = None
    guided_regex: Unset = None
    guided_choice: Unset = None
    guided_grammar: Unset = None
    structured_outputs: Unset = None
    grammar: UnsetOrEmpty = None
    json_schema: Unset = None
    chat_template: UnsetOrEmpty = None
    chat_template_kwargs: Unset = None

    @property
    def shows_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def top_k_or_none(self) -> int | None:
        return None if self.top_k is None else max(0, self.top_k)


class Refusal(msgspec.Struct, frozen=True):
    """Why a field is not taken, and the values of it that ask for nothing."""

    why: str
    neutral: tuple[Any, ...] = ()

    def is_neutral(self, value: Any) -> bool:
        """Whether it is one of these; true and false are no numbers."""
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.neutral)


class Refusals:
    """The fields that would change an answer and cannot be had; null, an empty list and an empty object ask nothing."""

    def __init__(self, refusals: Mapping[str, Refusal]) -> None:
        self._refusals = refusals
        self._values = attrgetter(*refusals)
        self._unset = (None,) * len(refusals)

    def check(self, request: msgspec.Struct) -> None:
        """Raises `FieldInvalid`, naming the first field that asks for something."""
        values = self._values(request)
        if values == self._unset:
            return
        for (name, refusal), value in zip(self._refusals.items(), values, strict=True):
            if value not in _NOTHING and not refusal.is_neutral(value):
                raise FieldInvalid(f"{name} is not supported: {refusal.why}.", param=name)


_NO_KNOB = "engines have no such knob in common"
_USE_FORMAT = "send response_format with a JSON schema"
# Not OpenAI's, all but the first: engines take them, and would answer otherwise without them.
SHARED: Mapping[str, Refusal] = {
    "logit_bias": Refusal("tokens are numbered otherwise by every model"),
    "min_p": Refusal(_NO_KNOB, (0,)),
    "min_tokens": Refusal(_NO_KNOB, (0,)),
    "repetition_penalty": Refusal("send frequency_penalty or presence_penalty", (1,)),
    "ignore_eos": Refusal(_NO_KNOB, (False,)),
    "stop_token_ids": Refusal("send stop with texts"),
    "guided_json": Refusal(_USE_FORMAT),
    "guided_regex": Refusal(_USE_FORMAT),
    "guided_choice": Refusal(_USE_FORMAT),
    "guided_grammar": Refusal(_USE_FORMAT),
    "structured_outputs": Refusal(_USE_FORMAT),
    "grammar": Refusal(_USE_FORMAT, ("",)),
    "json_schema": Refusal(_USE_FORMAT),
    "chat_template": Refusal("each model's own is used", ("",)),
    "chat_template_kwargs": Refusal("each model's own template is used as it is"),
}
