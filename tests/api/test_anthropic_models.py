"""GET /v1/models and /v1/models/{id} with the header anthropic-version: Anthropic's list."""

from tests.api.conftest import Service

VERSION: dict[str, str | None] = {"anthropic-version": "2023-06-01"}


async def test_200_models_by_pages_and_one_by_one(service: Service) -> None:
    client = await service.with_key()
    answer = await client.get("/v1/models?limit=1000", headers=VERSION)
    assert answer.header("request-id") == answer.header("x-request-id")
    whole = answer.json
    ids = [model["id"] for model in whole["data"]]
    assert {"echo", "tools", "see"} <= set(ids)
    assert "embed" not in ids
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, ids[0], ids[-1])
    found: list[str] = []
    page = (await client.get("/v1/models?limit=5", headers=VERSION)).json
    while page["has_more"]:
        found += [model["id"] for model in page["data"]]
        page = (await client.get(f"/v1/models?limit=5&after_id={page['last_id']}", headers=VERSION)).json
    assert [*found, *[model["id"] for model in page["data"]]] == ids
    before = (await client.get(f"/v1/models?limit=2&before_id={ids[3]}", headers=VERSION)).json
    assert [model["id"] for model in before["data"]] == ids[1:3]
    one = await client.get("/v1/models/echo", headers=VERSION)
    assert one.json == next(model for model in whole["data"] if model["id"] == "echo")
    assert (one.json["type"], one.json["lifecycle"], one.json["created_at"]) == (
        "model",
        "active",
        "1970-01-01T00:00:00Z",
    )
    assert one.json["max_tokens"] == service.settings.limits.max_tokens_of("free")


async def test_200_only_the_models_of_the_key(service: Service) -> None:
    client = await service.with_key(models=["echo", "json"])
    listed = (await client.get("/v1/models", headers=VERSION)).json
    assert sorted(model["id"] for model in listed["data"]) == ["echo", "json"]


async def test_refusals_are_anthropic_s_with_the_header_and_openai_s_without(service: Service) -> None:
    client = await service.with_key()
    for path, status in [
        ("/v1/models?limit=0", 400),
        ("/v1/models?limit=1001", 400),
        ("/v1/models?after_id=nowhere", 400),
        ("/v1/models?after_id=echo&before_id=json", 400),
        ("/v1/models/nowhere", 404),
    ]:
        response = await client.get(path, headers=VERSION)
        assert response.status == status, path
        assert response.json["type"] == "error"
        assert response.json["request_id"] == response.header("request-id")
    assert (await service.client().get("/v1/models", headers=VERSION)).json["error"]["type"] == "authentication_error"
    without = await client.get("/v1/models/nowhere")
    assert set(without.json["error"]) == {"message", "type", "param", "code"}


async def test_200_the_key_comes_in_the_new_header_and_in_the_old(service: Service) -> None:
    key = (await service.new_key())["api_key"]
    for sent in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
        assert (await service.client().get("/v1/models", headers=VERSION | sent)).status == 200
