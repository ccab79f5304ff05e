"""GET /v1/models and /v1/models/{id}: OpenAI's list. Anthropic's, by its header, has a file of its own."""

from tests.api.conftest import Service


async def test_200_models_and_each_by_its_names(service: Service) -> None:
    client = await service.with_key()
    listed = (await client.get("/v1/models")).json
    assert listed["object"] == "list"
    rows = {row["id"]: row for row in listed["data"]}
    assert len(rows) == len(listed["data"])
    assert {"echo", "tools", "embed"} <= set(rows)
    assert rows["echo"] == {"id": "echo", "object": "model", "created": 0, "owned_by": "fake"}
    assert (await client.get("/v1/models/echo")).json == rows["echo"]
    for path in ("/v1/models/fake/echo", "/v1/models/fake/words-10"):
        assert (await client.get(path)).json["id"] == path.removeprefix("/v1/models/")
    metrics = (await service.client().get("/metrics")).body.decode()
    assert 'endpoint="/v1/models/{model_id}"' in metrics


async def test_200_only_the_models_of_the_key(service: Service) -> None:
    client = await service.with_key(models=["fake/echo", "json"])
    assert [row["id"] for row in (await client.get("/v1/models")).json["data"]] == ["echo", "json"]
    assert (await client.get("/v1/models/echo")).status == 200
    refused = await client.get("/v1/models/tools")
    assert (refused.status, refused.code) == (403, "insufficient_permissions")


async def test_refusals_are_openai_s(service: Service) -> None:
    client = await service.with_key()
    for path, status, code in [
        ("/v1/models/nowhere", 404, "model_not_found"),
        ("/v1/models/", 400, "invalid_value"),
        (f"/v1/models/{'x' * 257}", 400, "invalid_value"),
        ("/v1/nothing", 404, "unknown_url"),
    ]:
        response = await client.get(path)
        assert (response.status, response.code) == (status, code)
        assert response.header("x-should-retry") == "false"
    assert (await service.client().get("/v1/models")).code == "invalid_api_key"
    assert (await client.post("/v1/models", {})).code == "method_not_supported"
