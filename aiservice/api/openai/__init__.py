"""OpenAI's doors: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses and its answer to /v1/models.

`content` and `tools` turn what a client sends into the corridor's messages, tools and choice; `request` holds the
fields that chat and completions share and says what is refused; `answer` frames the streams and usage of both. What a
client sends without a meaning here (user, metadata, service_tier, reasoning_effort, ...) is passed over; what would
change the answer and cannot be had is refused by name, see docs/openai.md. Errors, statuses and retry hints are those
of `surfaces.OPENAI`.
"""
