"""Which tools the scripted engine calls, and with what: all of it told by the tools and the last user message."""

import hashlib
import json
import re
from collections.abc import Sequence

from aiservice.core.types import Generation, Message, Tool, ToolCall, ToolChoice
from aiservice.engines.examples import example

ID_LENGTH = 24
_AUTO = ToolChoice()


def last_user_text(generation: Generation) -> str:
    return next((message.content for message in reversed(generation.messages) if message.role == "user"), "")


def told_results(generation: Generation) -> str | None:
    """What the tools told since the model spoke last; None where the last message is none of theirs."""
    results = _trailing_results(generation.messages)
    return f"result: {', '.join(results)}" if results else None


def called_tools(generation: Generation) -> tuple[ToolCall, ...]:
    """The calls of one answer. Raises `EngineRefused` for a tool whose schema has no value."""
    said = last_user_text(generation)
    return tuple(_call(index, tool, said) for index, tool in enumerate(_chosen(generation, said)))


def _chosen(generation: Generation, said: str) -> Sequence[Tool]:
    choice = generation.tool_choice or _AUTO
    tools = generation.tools
    if choice.name is not None:
        return [tool for tool in tools if tool.name == choice.name][:1]
    has_results = bool(_trailing_results(generation.messages))
    if choice.mode == "none" or (choice.mode == "auto" and has_results):
        return ()
    called = {call.name for message in generation.messages for call in message.tool_calls}
    # One that has its results and must call goes on with a tool that it did not call yet.
    left = [tool for tool in tools if tool.name not in called] or list(tools) if has_results else tools
    chosen = [tool for tool in left if _is_named(tool.name, said)]
    if not chosen and (choice.mode == "required" or len(tools) == 1):
        chosen = list(left[:1])
    return chosen[:1] if choice.is_parallel is False else chosen


def _trailing_results(messages: Sequence[Message]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if message.role != "tool":
            break
        results.insert(0, message.content)
    return results


def _is_named(name: str, said: str) -> bool:
    """Whether the text has the tool's name as words of their own, `_` also as a space."""
    return any(
        re.search(rf"(?<!\w){re.escape(form)}(?!\w)", said, re.IGNORECASE) for form in (name, name.replace("_", " "))
    )


def _call(index: int, tool: Tool, said: str) -> ToolCall:
    arguments = json.dumps(example(tool.parameters or {"type": "object"}, said), ensure_ascii=False)
    digest = hashlib.sha256(f"{index}\n{tool.name}\n{arguments}".encode()).hexdigest()
    return ToolCall(f"call_{digest[:ID_LENGTH]}", tool.name, arguments, index)
