"""What tokens cost, and how many a prompt may come to before the engine has counted."""

from aiservice.core.types import Asked, Embedding, Tokens
from aiservice.engines import Model

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4


def prompt_estimate(asked: Asked) -> int:
    """Tokens that a prompt comes to, roughly: one per four characters and four per message (OpenAI's rule of thumb)."""
    parts = asked.inputs if isinstance(asked, Embedding) else asked.messages
    return asked.characters // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE * len(parts)


def cost_nano(model: Model, tokens: Tokens) -> int:
    """The price of an answer in billionths of the operator's currency unit."""
    return tokens.prompt * model.prompt_price_nano + tokens.completion * model.completion_price_nano
