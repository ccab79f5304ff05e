"""What the test servers say: a model's name picks a script, as with the scripted engine of the package."""

import re
from dataclasses import dataclass

WORD = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Error:
    """An error in the middle of a stream."""


@dataclass(frozen=True)
class Cut:
    """The connection ends in the middle of a stream."""


Step = str | Pause | Error | Cut
MODELS = ("echo", "words-10", "slow-50", "slow-first", "slow-between", "fail-mid", "cut")
REFUSALS = {"refuse": 400, "missing": 404, "too-long": 422, "busy": 429, "loading": 503, "locked": 401, "fail": 500}


def steps(model: str, prompt: str, *, stop: list[str], max_tokens: int) -> tuple[list[Step], str, int]:
    """The script cut to `stop` and `max_tokens`, the finish reason, and how many words are in it."""
    script, finish, count = [], "stop", 0
    said = ""
    for step in _script(model, prompt):
        if isinstance(step, str):
            said += step
            count += 1
            if (at := min((i for text in stop if (i := said.find(text)) >= 0), default=-1)) >= 0:
                script.append(step[: len(step) - (len(said) - at)])
                break
        script.append(step)
        if count == max_tokens:
            finish = "length"
            break
    return script, finish, count


def _script(model: str, prompt: str) -> list[Step]:
    kind, _, number = model.rpartition("-")
    if kind == "words":
        return list(WORD.findall(" ".join(f"word{n}" for n in range(int(number)))))
    if kind == "slow" and number.isdecimal():
        return [step for n in range(20) for step in (Pause(int(number) / 1000), f"word{n} ")]
    fixed: dict[str, list[Step]] = {
        "slow-first": [Pause(30), "late"],
        "slow-between": ["early ", Pause(30), "late"],
        "fail-mid": ["one ", "two ", Error()],
        "cut": ["one ", "two ", Cut()],
    }
    return fixed.get(model, list(WORD.findall(f"echo: {prompt}")))
