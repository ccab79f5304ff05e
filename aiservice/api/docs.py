"""/docs: the API's pages, from files that this service carries; no other host is asked."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from aiservice.api.openapi import document
from aiservice.core.errors import RouteUnknown

FILES: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    folder = _files_folder()

    @routes.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @routes.head("/")
    async def alive() -> Response:
        """Asked by Ollama's command before each of its commands."""
        return Response(media_type="text/plain")

    @routes.get("/docs")
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="AI Service",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/docs/favicon.png",
        )

    @routes.get("/docs/{name}")
    async def file(name: str) -> FileResponse:
        if name not in FILES:
            raise RouteUnknown
        return FileResponse(folder / name, media_type=FILES[name], headers={"cache-control": "max-age=86400"})

    @routes.get("/openapi.json")
    async def openapi() -> dict[str, Any]:
        return document()

    return routes


def _files_folder() -> Path:
    """The folder of Swagger UI's files, inside a package that is not imported."""
    found = find_spec("fastapi_offline")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "static"
