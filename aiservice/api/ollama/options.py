"""The `options` of Ollama's requests: which are taken, which refused, and which are the engine's own business."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from aiservice.api import prompt
from aiservice.api.fields import Penalty, Seed, Stop, Temperature, Unit
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.keys import Caller

# What each option that is not supported says where it changes nothing. With mirostat and repeat_penalty off,
# mirostat_tau, mirostat_eta and penalize_newline mean nothing.
NEUTRAL: Mapping[str, float] = {
    "min_p": 0,
    "typical_p": 1,
    "tfs_z": 1,
    "mirostat": 0,
    "repeat_penalty": 1,
    "repeat_last_n": 64,
}
_RANDOM_SEED = -1


class OllamaOptions(msgspec.Struct):
    """How to choose the tokens, and how many.

    `num_predict` of 0 or less means until the answer ends, and a `seed` of -1 any. The options from `min_p` on are
    refused unless they change nothing. How the engine runs the model (num_ctx, num_keep, num_batch, num_gpu,
    num_thread, ...) is its own business: those are ignored, as are options that Ollama does not know.
    """

    temperature: Temperature | None = None
    num_predict: Annotated[int, msgspec.Meta(ge=-2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], msgspec.Meta(max_length=16)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    min_p: float | None = None
    typical_p: float | None = None
    tfs_z: float | None = None
    mirostat: int | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None

    def refuse_unsupported(self) -> None:
        """Raises `FieldInvalid` for an option that would change the answer and is not supported."""
        for name, neutral in NEUTRAL.items():
            value: float | None = getattr(self, name)
            if value is not None and value != neutral:
                raise FieldInvalid(
                    f"options.{name} is not supported here; leave it out or send {neutral}.", param=f"options.{name}"
                )

    def seed_or_none(self) -> int | None:
        return None if self.seed == _RANDOM_SEED else self.seed

    def max_tokens(self, settings: Settings, caller: Caller) -> int:
        """`num_predict` within the caller's tier, whose largest is for an answer that is to go on until it ends."""
        if self.num_predict is not None and self.num_predict < 1:
            return settings.limits.max_tokens_of(caller.tier)
        return prompt.max_tokens(self.num_predict, settings, caller)
