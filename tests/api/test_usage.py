"""Sums of a key's rows over a span, and the moment they are of."""

import asyncio

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.ids import iso_utc
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
DAY_S = 86_400


async def ask(client: Client, prompt: str) -> None:
    response = await client.post(PATH, {"prompt": prompt})
    assert response.status == 200


async def keys_of(client: Client, query: str) -> dict[str, int]:
    series = (await client.get(f"/usage?{query}")).json["series"]
    return {row["key"]: row["requests"] for row in series}


async def test_without_bounds_the_sums_are_of_thirty_days_until_now(service: Service, client: Client) -> None:
    for _ in range(3):
        await ask(client, "x")
        service.clock.advance_s(29 * DAY_S)
    await ask(client, "now")
    await rows_of(service, client, count=4)

    # The clock of the tests starts on 2025-06-15 at 15:06:40.
    assert await keys_of(client, "group_by=day") == {"2025-08-12": 1, "2025-09-10": 1}
    assert await keys_of(client, "to=2025-07-14T15:07:00Z") == {"2025-06-15": 1, "2025-07-14": 1}


@pytest.mark.parametrize(
    ("bounds", "requests"),
    [
        ("from=2025-06-15T15:06:40Z&to=2025-06-15T15:06:41Z", 1),
        ("from=2025-06-15T15:06:40Z&to=2025-06-15T17:06:40Z", 2),
        ("from=2025-06-15T15:06:40.001Z&to=2025-06-15T17:06:40.001Z", 2),
        ("from=2025-06-15T15:00:00Z&to=2025-06-15T18:00:00Z", 3),
        ("from=2025-06-15T17:06:40%2B02:00&to=2025-06-15T17:06:41%2B02:00", 1),
        ("from=2025-06-15T15:06:40Z&to=2025-06-15T15:06:40Z", 0),
    ],
)
async def test_a_span_is_half_open_to_the_microsecond(
    service: Service, client: Client, bounds: str, requests: int
) -> None:
    for _ in range(3):
        await ask(client, "x")
        service.clock.advance_s(3_600)
    await rows_of(service, client, count=3)

    assert sum((await keys_of(client, f"{bounds}&group_by=endpoint")).values()) == requests


async def test_as_of_is_the_moment_before_the_first_answer_that_is_not_in_the_sums(environ: dict[str, str]) -> None:
    settings = load(environ | {"USAGE_BATCH_INTERVAL_MS": "60000"})
    prepare(settings)
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        service = Service(app, settings, clock)
        client = await service.with_key()
        usage = (await client.get("/usage?group_by=day")).json
        assert (usage["series"], usage["as_of"]) == ([], iso_utc(clock.now_us()))
        clock.advance_s(5)
        answered_us = clock.now_us()
        for _ in range(2):
            await ask(client, "x")
            clock.advance_s(5)
        usage = (await client.get("/usage?group_by=day")).json
        assert (usage["series"], usage["as_of"]) == ([], iso_utc(answered_us - 1_000))


async def test_as_of_comes_up_to_now_when_all_is_in_the_sums(service: Service, client: Client) -> None:
    await ask(client, "x")
    service.clock.advance_s(5)
    async with asyncio.timeout(5):
        while (usage := (await client.get("/usage?group_by=day")).json)["as_of"] != iso_utc(service.clock.now_us()):
            await asyncio.sleep(0.01)
    assert [row["requests"] for row in usage["series"]] == [1]


@pytest.mark.parametrize("moment", ["0", "1769803420", "2026-01-31", "2026-01-31T20:03:40", ""])
async def test_422_a_bound_is_a_time_with_its_zone(client: Client, moment: str) -> None:
    response = await client.get(f"/usage?from={moment}")
    assert (response.status, response.code, response.json["error"]["param"]) == (422, "request.field_invalid", "from")
