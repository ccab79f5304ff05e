"""Three tenants ask the same questions of one cache in random order, and none ever gets another's answer.

`LONG=1` does 100,000 operations a backend.
"""

import os
import random
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiservice.cache import CachePolicy, ResponseCache
from aiservice.core.clock import ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, Generation, Message, Tokens
from tests.conformance.caches import ALL, Opener

OPERATIONS = 100_000 if os.environ.get("LONG") else 10_000
TENANTS = ["acme", "acme2", "2acme"]
MODELS = ["m", "2m", "m2"]
QUESTIONS = [Generation("any", (Message("user", f"question {n}"),), 0.0, 100) for n in range(8)]
POLICY = CachePolicy()


@pytest.mark.parametrize("is_encrypted", [False, True])
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ALL)
async def test_no_tenant_gets_an_answer_of_another(
    backend: str, is_encrypted: bool, request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack
) -> None:
    settings = CacheSettings(bytes_max=1_048_576, is_encrypted=is_encrypted)
    clock = ManualClock()
    chance = random.Random(7)
    caches = await Opener(request, tmp_path, stack).open(backend, settings, clock, source=chance, count=3)
    rooms = [ResponseCache(settings, cache) for cache in caches]
    seen: Counter[str] = Counter()
    for number in range(OPERATIONS):
        clock.advance_s(chance.choice([0, 0.1, 1]))
        tenant_id, model = chance.choice(TENANTS), chance.choice(MODELS)
        room = chance.choice(rooms)
        key = room.key(chance.choice(QUESTIONS), tenant_id=tenant_id, model=model, model_digest="sha256:same")
        lease_id = f"{tenant_id} {number % 2}"
        action = chance.choices(["look", "claim", "keep", "clear"], [50, 30, 18, 2])[0]
        if action == "look":
            entry = await room.look_up(key, POLICY)
        elif action == "claim":
            entry = (await room.claim(key, lease_id, POLICY)).entry
        elif action == "keep":
            entry = None
            text = f"{tenant_id}/{model}/".ljust(chance.choice([50, 5_000]))
            answer = Completion(model, "engine", (Chunk(text, "stop", Tokens(1, 1)),))
            await room.keep(key, answer, chance.choice([None, lease_id]))
        else:
            entry = None
            await room.clear(tenant_id=tenant_id)
            entry_after = await room.look_up(key, POLICY)
            assert entry_after is None
        if entry is not None:
            assert entry.completion.choices[0].text.startswith(f"{tenant_id}/{model}/")
            seen[tenant_id] += 1
    assert min(seen[tenant_id] for tenant_id in TENANTS) > OPERATIONS / 100
    assert [room.failures for room in rooms] == [0] * len(rooms)
