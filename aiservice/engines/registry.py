"""Which engines there are: one row per kind, and the specs that the settings ask for."""

from collections.abc import Callable, Mapping

from aiservice.core.clock import Clock
from aiservice.core.errors import SettingInvalid
from aiservice.core.settings import EngineSettings, Settings
from aiservice.engines.engines_file import read_engines_file
from aiservice.engines.fake import ENGINE_NAME as FAKE_NAME
from aiservice.engines.fake import FakeEngine
from aiservice.engines.http import is_http_url
from aiservice.engines.llamacpp import (
    ENGINE_NAME,
    LlamaCppEngine,
    embedded_model_name,
    embedded_model_path,
    socket_url,
)
from aiservice.engines.minilm import embedding_model
from aiservice.engines.model import EngineKind, EngineSpec
from aiservice.engines.ollama import OllamaEngine
from aiservice.engines.openai_compat import OpenAICompatEngine
from aiservice.engines.port import Engine
from aiservice.engines.service import Registry

OLLAMA_NAME = "ollama"
OPENAI_NAME = "openai"


def build(settings: Settings, clock: Clock) -> Registry:
    """The registry of one worker; raises `SettingInvalid`. Opens nothing before `Registry.start`."""
    engines = [(spec, CONSTRUCTORS[spec.kind](spec, settings)) for spec in specs(settings)]
    return Registry(engines, default_model=settings.engines.default_model, clock=clock)


def specs(settings: Settings) -> list[EngineSpec]:
    """One spec per engine that the settings name, the embedded one first; raises `SettingInvalid`."""
    engines = settings.engines
    found = []
    if embedded_model_path(engines.embedded_model) is not None:
        found.append(EngineSpec(ENGINE_NAME, "llamacpp", socket_url(settings.server.data_dir)))
    found += _ollama(engines)
    found += [
        EngineSpec(_numbered(OPENAI_NAME, row), "openai_compat", url, api_key=engines.openai_api_key, group=OPENAI_NAME)
        for row, url in enumerate(_checked("OPENAI_BASE_URL", engines.openai_base_urls), start=1)
    ]
    if settings.server.environment == "test":
        found.append(EngineSpec(FAKE_NAME, "fake", ""))
    if engines.engines_file is not None:
        found += read_engines_file(engines.engines_file, taken=frozenset(spec.name for spec in found))
    return found


def _ollama(engines: EngineSettings) -> list[EngineSpec]:
    is_default = engines.ollama_urls == type(engines).model_fields["ollama_urls"].default
    return [
        EngineSpec(_numbered(OLLAMA_NAME, row), "ollama", url, group=OLLAMA_NAME, may_be_absent=is_default)
        for row, url in enumerate(_checked("OLLAMA_URL", engines.ollama_urls), start=1)
    ]


def _numbered(name: str, row: int) -> str:
    return name if row == 1 else f"{name}-{row}"


def _checked(setting: str, urls: tuple[str, ...]) -> tuple[str, ...]:
    for row, url in enumerate(urls, start=1):
        if not is_http_url(url):
            # Not shown, since an address may carry a password.
            raise SettingInvalid(f"{setting} has no address that begins with http:// or https:// at place {row}.")
    return urls


def _llamacpp(spec: EngineSpec, settings: Settings) -> Engine:
    path = embedded_model_path(settings.engines.embedded_model)
    if path is None:
        raise SettingInvalid(
            "EMBEDDED_MODEL names no model file; it takes `smollm2`, the path of a GGUF file, or `off`."
        )
    return LlamaCppEngine(
        spec,
        model_name=embedded_model_name(settings.engines.embedded_model),
        model_path=path,
        context_length=settings.engines.embedded_context,
        embedding=embedding_model(settings.engines.embedded_embedding_model, settings.server.data_dir),
    )


CONSTRUCTORS: Mapping[EngineKind, Callable[[EngineSpec, Settings], Engine]] = {
    "llamacpp": _llamacpp,
    "ollama": lambda spec, _: OllamaEngine(spec),
    "openai_compat": lambda spec, _: OpenAICompatEngine(spec),
    "fake": lambda spec, _: FakeEngine(spec.name),
}
