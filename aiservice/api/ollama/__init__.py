"""Ollama's API: chat, generate, embed and its older form, the models, and fetching one for operators.

`chat.py`, `generate.py` and `embed.py` are hot doors, each with its own request and answer; what they share stands in
`request.py` and `options.py` (what is asked), `content.py` (messages, pictures, tools) and `lines.py` (answers and
the lines of a stream). `models.py` tells what there is, `pull.py` fetches more.

Promises: what would change an answer and is not supported is refused by name, what only tells Ollama how to run a
model is ignored; token counts are the engine's own; a text goes out byte-exact; errors are `{"error": "a sentence"}`,
in a stream as its last line. Models that are not loaded are loaded by their engine when they are asked.
"""
