"""The targets: the service and its peers, one frozen row each.

All get the same prompt, the same engine and one worker process. Each runs in its own scratch folder with
a small environment of its own, so that nothing of the caller's shell reaches it.
"""

import json
import os
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import peers
from cases import PROMPT, Case
from engine import PACED_MODEL, PLAIN_MODEL
from measure import Launch

# Keys of servers that live for one run on loopback.
ADMIN_KEY = "bench-admin-key-0123456789-0123456789"
MASTER_KEY = "sk-bench-0123456789abcdef"
FLEET_WORKERS = 4
# What the `aiservice` command runs, but from the tree that this file stands in, installed or not.
SERVICE_COMMAND = "from aiservice.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process of a target runs."""

    root: Path
    folder: Path
    port: int
    engine_port: int
    redis_port: int

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}/v1"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a target."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]


def _nothing(_root: Path) -> None:
    """Already there: the service and the floor run in the environment of this script."""


def _no_key(_port: int) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Target:
    """A row. `variants` gives the server that carries each case; `absent_cases` why a case is not there."""

    name: str
    title: str
    note: str
    variants: Mapping[str, str]
    launch: Callable[[Place, str], Launch]
    ask: Callable[[Case, Place, str], Ask]
    versions: Callable[[Path], dict[str, str]]
    install: Callable[[Path], None] = _nothing
    make_key: Callable[[int], str] = _no_key
    absent_cases: Mapping[str, str] = field(default_factory=dict)


def _environment(place: Place, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(place.folder),
        "LANG": "C.UTF-8",
        **more,
    }


def _same(*cases: str) -> dict[str, str]:
    return dict.fromkeys(cases, "plain")


# The service itself


def launch_service(place: Place, variant: str) -> Launch:
    """`aiservice serve` in production mode; the variant `fleet` has `FLEET_WORKERS`, any other one.

    The variant `redis` has its limits and its cache in two databases of the one Redis.
    """
    redis = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(place.redis_port)} if variant == "redis" else {}
    return Launch(
        command=[sys.executable, "-c", SERVICE_COMMAND, "serve"],
        environment=_environment(
            place,
            PYTHONPATH=str(place.root),
            ENVIRONMENT="production",
            HOST="127.0.0.1",
            PORT=str(place.port),
            WORKERS=str(FLEET_WORKERS) if variant == "fleet" else "1",
            DATA_DIR=str(place.folder / "data"),
            ADMIN_KEY=ADMIN_KEY,
            EMBEDDED_MODEL="off",
            OLLAMA_URL="",
            OPENAI_BASE_URL=place.engine_url,
            DEFAULT_MODEL=PLAIN_MODEL,
            **redis,
        ),
        folder=place.folder,
        health_path="/health/ready",
    )


def service_key(port: int) -> str:
    """A key whose quota no run can use up."""
    body = {
        "tenant_id": "bench",
        "user_id": "bench",
        "name": "bench",
        "tier": "enterprise",
        "quota_requests_per_hour": 100_000_000,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/create-key",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-admin-key": ADMIN_KEY},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["api_key"])


def ask_native(case: Case, _place: Place, key: str) -> Ask:
    """The service's own door."""
    stream = {"stream": True, "max_tokens": case.tokens} if case.is_stream else {"max_tokens": 200}
    body = {"model": case.model, "prompt": PROMPT, **stream}
    return Ask("/ai/generate", {"x-api-key": key, **_cache_control(case)}, body)


def ask_openai(case: Case, _place: Place, key: str) -> Ask:
    """The door that the peers have too, asked in the same words as they are."""
    return Ask("/v1/chat/completions", {"authorization": f"Bearer {key}", **_cache_control(case)}, _chat(case))


def _cache_control(case: Case) -> dict[str, str]:
    return {} if case.is_cached else {"cache-control": "no-store"}


# The floor


def launch_floor(place: Place, _variant: str) -> Launch:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    app = ["--factory", "floor:app", "--app-dir", str(place.root / "bench")]
    return Launch(
        command=[sys.executable, "-m", "uvicorn", *app, "--port", str(place.port), *options],
        environment=_environment(place, ENGINE_URL=f"{place.engine_url}/chat/completions"),
        folder=place.folder,
        health_path="/",
    )


def ask_floor(case: Case, _place: Place, _key: str) -> Ask:
    return Ask("/hello" if case.is_cached else "/proxy", {}, _chat(case))


def _chat(case: Case) -> dict[str, object]:
    """The same question in OpenAI's form."""
    body: dict[str, object] = {"model": case.model, "messages": [{"role": "user", "content": PROMPT}]}
    if case.is_stream:
        return {**body, "stream": True, "max_tokens": case.tokens, "stream_options": {"include_usage": True}}
    return {**body, "max_tokens": 200}


# LiteLLM


def launch_litellm(place: Place, variant: str) -> Launch:
    """The proxy with one worker, a master key, no database; its cache in the variants `cache` and `redis`."""
    config = place.folder / "config.yaml"
    # JSON is YAML too.
    config.write_text(json.dumps(_litellm_config(place, variant)))
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1", "--telemetry", "False"]
    return Launch(
        command=[str(peers.litellm_folder(place.root) / "bin" / "litellm"), "--config", str(config), *options],
        environment=_environment(
            place, LITELLM_MODE="PRODUCTION", LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True"
        ),
        folder=place.folder,
        health_path="/health/liveliness",
    )


def _litellm_config(place: Place, variant: str) -> dict[str, object]:
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": place.engine_url, "api_key": "none"},
        }
        for name in (PLAIN_MODEL, PACED_MODEL)
    ]
    redis = {"type": "redis", "host": "127.0.0.1", "port": place.redis_port, "namespace": "litellm"}
    kinds: dict[str, dict[str, object]] = {"cache": {"type": "local"}, "redis": redis}
    cache = {"cache": True, "cache_params": kinds[variant]} if variant in kinds else {}
    return {
        "model_list": models,
        "litellm_settings": {"telemetry": False, "set_verbose": False, **cache},
        "general_settings": {"master_key": MASTER_KEY},
    }


def ask_litellm(case: Case, _place: Place, _key: str) -> Ask:
    return Ask("/v1/chat/completions", {"authorization": f"Bearer {MASTER_KEY}"}, _chat(case))


def litellm_versions(root: Path) -> dict[str, str]:
    lines = (root / "bench" / "requirements-litellm.txt").read_text().splitlines()
    pins = dict(line.split(" ")[0].split("==") for line in lines if "==" in line)
    return {name: pins[name] for name in ("litellm", "uvicorn", "fastapi", "openai")}


# Portkey


def launch_portkey(place: Place, _variant: str) -> Launch:
    start = peers.portkey_folder(place.root) / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Launch(
        command=["node", str(start), f"--port={place.port}", "--headless"],
        environment=_environment(place, NODE_ENV="production"),
        folder=place.folder,
        health_path="/",
    )


def ask_portkey(case: Case, place: Place, _key: str) -> Ask:
    """Portkey takes the engine's address with each request."""
    engine = {"x-portkey-provider": "openai", "x-portkey-custom-host": place.engine_url}
    headers = {"authorization": "Bearer none", **engine}
    return Ask("/v1/chat/completions", headers, _chat(case))


def portkey_versions(root: Path) -> dict[str, str]:
    packages = json.loads((root / "bench" / "portkey" / "package-lock.json").read_text())["packages"]
    names = ("@portkey-ai/gateway", "hono", "@hono/node-server")
    return {name: str(packages[f"node_modules/{name}"]["version"]) for name in names}


def _service_versions(root: Path) -> dict[str, str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = ("uvicorn", "uvloop", "httptools", "starlette", "msgspec")
    return {"aiservice": str(project["version"]), **{name: version(name) for name in names}}


def _floor_versions(_root: Path) -> dict[str, str]:
    return {name: version(name) for name in ("uvicorn", "uvloop", "httptools", "msgspec", "aiohttp")}


TARGETS = (
    Target(
        name="aiservice",
        title="AI Service",
        note="`aiservice serve`, production mode, 1 worker, SQLite; key, limit, cache, usage record and metrics on; "
        "asked at `/v1/chat/completions`, as the peers are",
        variants={"shared": "redis", **_same("cached", "proxied", "paced", "calm", "burst")},
        launch=launch_service,
        ask=ask_openai,
        versions=_service_versions,
        make_key=service_key,
    ),
    Target(
        name="native",
        title="its /ai/generate",
        note="the same in another process, asked at its own door `/ai/generate`",
        variants={"shared": "redis", **_same("cached", "proxied", "paced", "calm", "burst")},
        launch=launch_service,
        ask=ask_native,
        versions=_service_versions,
        make_key=service_key,
    ),
    Target(
        name="litellm",
        title="LiteLLM proxy",
        note="1 worker, master key, no database; a cache for the cached cases only, in its process or in Redis",
        variants={"cached": "cache", "shared": "redis", **_same("proxied", "paced", "calm", "burst")},
        launch=launch_litellm,
        ask=ask_litellm,
        versions=litellm_versions,
        install=peers.install_litellm,
    ),
    Target(
        name="portkey",
        title="Portkey gateway",
        note="Node, no key check",
        variants=_same("proxied", "paced", "calm", "burst"),
        launch=launch_portkey,
        ask=ask_portkey,
        versions=portkey_versions,
        install=peers.install_portkey,
        absent_cases=dict.fromkeys(
            ("cached", "shared"), "its open gateway answers `x-portkey-cache-status: DISABLED`: no cache to measure"
        ),
    ),
    Target(
        name="floor",
        title="bare ASGI",
        note="uvicorn with no key, limit, cache or record: a fixed answer, or bytes passed through aiohttp",
        variants=_same("cached", "proxied", "paced", "calm", "burst"),
        launch=launch_floor,
        ask=ask_floor,
        versions=_floor_versions,
        absent_cases={"shared": "it has no cache"},
    ),
)
