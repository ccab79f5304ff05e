"""Anthropic's doors: /v1/messages, /v1/messages/count_tokens and its own answer to /v1/models.

`request` and `tools` hold what may be asked, `content` turns blocks into the corridor's messages, `answer` and
`stream` turn chunks into a message or its events. What a client sends without a meaning here (metadata, cache_control,
thinking, ...) is passed over; what would change the answer and cannot be had is refused by name, see
docs/anthropic.md. Errors, statuses and headers are those of `surfaces.ANTHROPIC`.
"""
