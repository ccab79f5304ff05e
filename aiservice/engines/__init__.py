"""Servers of language models and the way from a model's name to the one that answers.

`Registry.resolve` turns what a client calls a model into a `Route`; its `ask` gives the answer in chunks: text, calls
of tools, vectors. Several choices are several calls of the engine.
Each engine is one file and one row in `registry.py`: llamacpp (the embedded one, with `embedder.py` for its vectors),
ollama, openai_compat, fake.

Promises: every wait is bounded by the call's `Deadline`; an answer that is cut raises; a caller that goes away frees
the engine's slot within 200 ms; what an engine says reaches callers without addresses, keys and paths.
An engine that is down keeps its models for a while in name, so that they answer 502 rather than 404, unless a
replica or, for DEFAULT_MODEL, the embedded engine stands in; it is looked for every 5 s. While the embedded engine
starts its model answers 503 with Retry-After. Only `http.py` and `connection.py` speak HTTP.
"""

from aiservice.engines.model import (
    Capability,
    EngineKind,
    EngineSpec,
    EngineStatus,
    EstimatedTokens,
    Model,
    Price,
    PullProgress,
)
from aiservice.engines.port import Engine
from aiservice.engines.service import Registry, Route

__all__ = [
    "Capability",
    "Engine",
    "EngineKind",
    "EngineSpec",
    "EngineStatus",
    "EstimatedTokens",
    "Model",
    "Price",
    "PullProgress",
    "Registry",
    "Route",
]
