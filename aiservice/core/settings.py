"""Every setting of the service: one frozen object, read once from the environment.

Each field carries its environment name, default, bounds and help; the settings page,
`.env.example` and `aiservice serve --help` are generated from this file. A secret may come from
a file instead: NAME_FILE holds its path. This is the only file that reads the environment.
"""

import os
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from aiservice.core.errors import SettingInvalid

Environment = Literal["production", "development", "test"]
ADMIN_KEY_LENGTH_MIN = 32
# Beside the name of the user itself.
_DEFAULT_PASSWORDS = frozenset({"", "postgres", "password", "changeme", "admin", "secret"})
_POSTGRES_URL = r"^postgres(ql)?://."
_REDIS_URL = r"^rediss?(\+cluster|\+sentinel)?://."
_FORMS: Mapping[str, str] = {
    _POSTGRES_URL: "an address that begins with postgresql://",
    _REDIS_URL: "an address that begins with redis://, rediss://, redis+cluster:// or redis+sentinel://",
}


def _setting(env: str, default: Any, help: str, *, secret: bool = False, **bounds: Any) -> Any:
    extra: JsonDict = {"env": env, "secret": secret}
    return Field(default=default, description=help, json_schema_extra=extra, repr=not secret, **bounds)


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(_Group):
    """Addresses and processes."""

    environment: Environment = _setting(
        "ENVIRONMENT",
        "production",
        "`production` needs keys everywhere and refuses an unsafe start; `development` lets this machine in "
        "without a key; `test` is production with the scripted engine.",
    )
    host: str = _setting("HOST", "127.0.0.1", "Address to listen on.", min_length=1)
    port: int = _setting("PORT", 5001, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: int | None = _setting(
        "WORKERS", None, "Worker processes. Unset: 4, in development the number of cores, at most 4.", ge=1, le=64
    )
    instances: int = _setting(
        "INSTANCES", 1, "Instances that share one Redis: each allows its part while Redis is away.", ge=1, le=10_000
    )
    data_dir: Path = _setting("DATA_DIR", Path("./data"), "Folder of databases, spool and generated secrets.")
    public_url: str | None = _setting("PUBLIC_URL", None, "The address users see, when a proxy stands in front.")
    allowed_origins: tuple[str, ...] = _setting(
        "ALLOWED_ORIGINS",
        (),
        "Origins that browsers may call from (CORS), comma-separated. `*` is refused in production.",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "TRUSTED_PROXIES", (), "Addresses or networks whose X-Forwarded-For is believed, comma-separated."
    )
    body_bytes_max: int = _setting(
        "BODY_BYTES_MAX", 1_048_576, "Largest request body, bytes.", ge=1_024, le=104_857_600
    )
    image_body_bytes_max: int = _setting(
        "IMAGE_BODY_BYTES_MAX",
        20_971_520,
        "Largest request body of the routes that take pictures, bytes.",
        ge=1_024,
        le=104_857_600,
    )
    image_hosts: tuple[str, ...] = _setting(
        "IMAGE_HOSTS",
        (),
        "Hosts whose pictures may be named by address, comma-separated; the engine fetches them. "
        "Empty: data URLs only.",
    )
    prompt_characters_max: int = _setting(
        "PROMPT_CHARACTERS_MAX", 200_000, "Longest prompt, characters over all messages.", ge=1, le=10_000_000
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "LOG_LEVEL", "info", "Least severity that is logged."
    )


class KeySettings(_Group):
    """API keys and the admin key."""

    admin_key: str | None = _setting(
        "ADMIN_KEY",
        None,
        f"The operator's key for X-Admin-Key; at least {ADMIN_KEY_LENGTH_MIN} characters in production.",
        secret=True,
    )
    pepper: str | None = _setting(
        "KEY_PEPPER",
        None,
        "Secret mixed into stored key hashes; shared by all instances. Unset: made once in DATA_DIR/secrets.",
        secret=True,
        min_length=32,
    )
    bcrypt_cost: int = _setting("BCRYPT_COST", 10, "Cost of the stored key hash; each step doubles it.", ge=10, le=14)
    failures_per_minute: int = _setting(
        "KEY_FAILURES_PER_MINUTE",
        10,
        "Requests with a bad key from one address before it is held off.",
        ge=1,
        le=10_000,
    )
    verify_per_minute: int = _setting(
        "KEY_VERIFY_PER_MINUTE", 30, "Calls of /auth/verify-key from one address per minute.", ge=1, le=100_000
    )


class LimitSettings(_Group):
    """Rate limits per tier; a key may have its own."""

    default_rate_limit: int = _setting(
        "DEFAULT_RATE_LIMIT", 100, "Requests per DEFAULT_RATE_WINDOW of the free tier.", ge=1, le=100_000_000
    )
    default_rate_window_s: int = _setting(
        "DEFAULT_RATE_WINDOW", 3_600, "Seconds that DEFAULT_RATE_LIMIT is for.", ge=1, le=2_592_000
    )
    rate_limit_pro: int = _setting("RATE_LIMIT_PRO", 1_000, "Requests per hour of the pro tier.", ge=1, le=100_000_000)
    rate_limit_enterprise: int = _setting(
        "RATE_LIMIT_ENTERPRISE", 10_000, "Requests per hour of the enterprise tier.", ge=1, le=100_000_000
    )
    is_strict: bool = _setting(
        "RATE_LIMIT_STRICT",
        False,
        "`true`: burst and refill together never exceed the limit in any window. "
        "`false`: a full bucket may be spent at once.",
    )
    without_redis: Literal["local", "closed", "open"] = _setting(
        "LIMITS_WITHOUT_REDIS",
        "local",
        "While Redis is away: `local` lets each worker give out its part of every limit, `closed` refuses with 503, "
        "`open` does not count requests (tokens and requests at once are counted as with `local`).",
    )
    max_tokens_free: int = _setting(
        "MAX_TOKENS_FREE", 1_024, "Largest max_tokens of the free tier.", ge=1, le=1_000_000
    )
    max_tokens_pro: int = _setting("MAX_TOKENS_PRO", 4_096, "Largest max_tokens of the pro tier.", ge=1, le=1_000_000)
    max_tokens_enterprise: int = _setting(
        "MAX_TOKENS_ENTERPRISE", 16_384, "Largest max_tokens of the enterprise tier.", ge=1, le=1_000_000
    )

    def quota_of(self, tier: str) -> int:
        """The requests that a tier may make in its window."""
        return {
            "free": self.default_rate_limit,
            "pro": self.rate_limit_pro,
            "enterprise": self.rate_limit_enterprise,
        }[tier]

    def max_tokens_of(self, tier: str) -> int:
        """The largest max_tokens that a tier may ask for."""
        if tier == "free":
            return self.max_tokens_free
        return self.max_tokens_pro if tier == "pro" else self.max_tokens_enterprise


class CacheSettings(_Group):
    """The response cache."""

    ttl_s: int = _setting(
        "CACHE_TTL", 3_600, "Seconds that an answer is kept; 0 switches the cache off.", ge=0, le=31_536_000
    )
    bytes_max: int = _setting(
        "CACHE_BYTES_MAX", 268_435_456, "Size of all entries together, bytes; the least used leave first.", ge=1_048_576
    )
    entry_bytes_max: int = _setting(
        "CACHE_ENTRY_BYTES_MAX", 1_048_576, "Largest answer that is kept, bytes.", ge=1_024, le=104_857_600
    )
    is_encrypted: bool = _setting(
        "CACHE_ENCRYPTION",
        False,
        "`true`: kept answers are encrypted (AES-256-GCM, a key per tenant). What was kept the other way is a miss.",
    )


class UsageSettings(_Group):
    """The usage ledger."""

    spool_bytes_max: int = _setting(
        "SPOOL_BYTES_MAX",
        8_589_934_592,
        "Largest backlog of unshipped usage on disk, bytes; then new requests get 503.",
        ge=1_048_576,
    )
    batch_rows: int = _setting("USAGE_BATCH_ROWS", 500, "Most rows in one insert.", ge=1, le=10_000)
    batch_interval_ms: int = _setting(
        "USAGE_BATCH_INTERVAL_MS", 200, "Longest wait of a row for its batch, ms.", ge=10, le=60_000
    )
    is_durable: bool = _setting(
        "USAGE_DURABLE",
        False,
        "`true`: the record is on disk before an answer ends. `false`: within 50 ms (survives kill -9).",
    )


class ResponseSettings(_Group):
    """Answers that are stored because their caller asked for it."""

    ttl_days: int = _setting(
        "RESPONSES_TTL_DAYS",
        30,
        "Days that a response with `store: true` is kept; then it is deleted.",
        ge=1,
        le=365,
    )


class EngineSettings(_Group):
    """Engines, models and the deadlines of engine calls."""

    embedded_model: str = _setting(
        "EMBEDDED_MODEL",
        "smollm2",
        "The model in the service: `smollm2`, the path of a GGUF file, or `off`.",
        min_length=1,
    )
    embedded_embedding_model: str = _setting(
        "EMBEDDED_EMBEDDING_MODEL",
        "minilm",
        "The embedding model beside EMBEDDED_MODEL, off where that is: `minilm`, the path of a GGUF file, or `off`.",
        min_length=1,
    )
    embedded_threads: int | None = _setting(
        "EMBEDDED_THREADS", None, "Threads of the embedded model. Unset: the number of cores.", ge=1, le=512
    )
    embedded_slots: int = _setting(
        "EMBEDDED_SLOTS", 4, "Answers that the embedded model works on at once.", ge=1, le=64
    )
    embedded_context: int = _setting(
        "EMBEDDED_CONTEXT", 8_192, "Context of the embedded model, tokens, shared by its slots.", ge=256, le=1_048_576
    )
    ollama_urls: tuple[str, ...] = _setting(
        "OLLAMA_URL", ("http://127.0.0.1:11434",), "Ollama servers, comma-separated; silent when none answers."
    )
    openai_base_urls: tuple[str, ...] = _setting(
        "OPENAI_BASE_URL",
        (),
        "OpenAI-compatible engines (vLLM, llama.cpp, a cloud), comma-separated, with or without /v1.",
    )
    openai_api_key: str | None = _setting("OPENAI_API_KEY", None, "Key that is sent to OPENAI_BASE_URL.", secret=True)
    engines_file: Path | None = _setting("ENGINES_FILE", None, "TOML file of further engines with names of their own.")
    default_model: str = _setting(
        "DEFAULT_MODEL",
        "llama3.2:1b",
        "Model of a request that names none; the embedded one stands in while it is missing.",
        min_length=1,
    )
    temperature: float = _setting("MODEL_TEMPERATURE", 0.7, "Temperature of a request that names none.", ge=0, le=2)
    max_tokens: int = _setting("MODEL_MAX_TOKENS", 500, "max_tokens of a request that names none.", ge=1, le=1_000_000)
    connect_s: float = _setting("ENGINE_CONNECT_TIMEOUT", 2.0, "Seconds to connect to an engine.", gt=0, le=60)
    first_token_s: float = _setting(
        "ENGINE_FIRST_TOKEN_TIMEOUT", 30.0, "Seconds until an engine's first token.", gt=0, le=3_600
    )
    between_tokens_s: float = _setting("ENGINE_TOKEN_TIMEOUT", 15.0, "Seconds between two tokens.", gt=0, le=3_600)
    total_s: float = _setting("ENGINE_TOTAL_TIMEOUT", 120.0, "Seconds for a whole answer.", gt=0, le=86_400)


class StoreSettings(_Group):
    """PostgreSQL and Redis, for more than one machine. Empty means SQLite files in DATA_DIR."""

    postgres_url: str | None = _setting(
        "POSTGRES_URL",
        None,
        "The main database, postgresql://USER:PASSWORD@HOST:PORT/NAME, with several HOST:PORT joined by commas where a "
        "standby may take over; ?sslmode=verify-full&sslrootcert=PATH for TLS. Unset: SQLite.",
        secret=True,
        pattern=_POSTGRES_URL,
    )
    postgres_owner_url: str | None = _setting(
        "POSTGRES_OWNER_URL",
        None,
        "The same database under the role that owns its tables, for migrations, partitions and reconciliation. "
        "Unset: POSTGRES_URL's role does that too.",
        secret=True,
        pattern=_POSTGRES_URL,
    )
    postgres_replica_url: str | None = _setting(
        "POSTGRES_REPLICA_URL",
        None,
        "A standby of the same database: usage is read there, and a spool file is kept until its rows are there.",
        secret=True,
        pattern=_POSTGRES_URL,
    )
    postgres_pool_size: int = _setting(
        "POSTGRES_POOL_SIZE", 5, "Connections to PostgreSQL of each worker, at most.", ge=1, le=100
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        "Redis 6.2 or newer for limits and events: redis://, or rediss:// with TLS, USER:PASSWORD@HOST:PORT/DATABASE; "
        "redis+cluster:// with some nodes, redis+sentinel:// with the sentinels and /SERVICE/DATABASE. Unset: SQLite.",
        secret=True,
        pattern=_REDIS_URL,
    )
    redis_host: str | None = _setting("REDIS_HOST", None, "Host of a single Redis, where REDIS_URL is not set.")
    redis_port: int = _setting("REDIS_PORT", 6_379, "Port of REDIS_HOST.", ge=1, le=65_535)
    redis_password: str | None = _setting("REDIS_PASSWORD", None, "Password of REDIS_HOST.", secret=True)
    redis_cache_url: str | None = _setting(
        "REDIS_CACHE_URL",
        None,
        "Redis for the response cache, best an instance of its own that may evict (allkeys-lfu). "
        "Unset: REDIS_URL's server, in its next database.",
        secret=True,
        pattern=_REDIS_URL,
    )
    redis_timeout_ms: int = _setting(
        "REDIS_TIMEOUT_MS", 50, "Longest wait for Redis, ms; then a request goes on without it.", ge=5, le=10_000
    )

    @field_validator("postgres_url", "postgres_owner_url", "postgres_replica_url")
    @classmethod
    def _can_be_taken_apart(cls, url: str | None) -> str | None:
        urlsplit(url or "")
        return url


class SqlSettings(_Group):
    """SQL assist."""

    sandboxes: int = _setting(
        "SQL_SANDBOXES",
        2,
        "Processes of SQL assist, each with one request at a time; 0 switches it off.",
        ge=0,
        le=64,
    )
    deadline_s: float = _setting(
        "SQL_DEADLINE", 10.0, "Seconds after which the work on a statement is ended.", ge=0.1, le=300
    )


class Settings(_Group):
    """All settings, a group per room."""

    server: ServerSettings = ServerSettings()
    keys: KeySettings = KeySettings()
    limits: LimitSettings = LimitSettings()
    cache: CacheSettings = CacheSettings()
    usage: UsageSettings = UsageSettings()
    responses: ResponseSettings = ResponseSettings()
    engines: EngineSettings = EngineSettings()
    stores: StoreSettings = StoreSettings()
    sql: SqlSettings = SqlSettings()

    @property
    def is_development(self) -> bool:
        return self.server.environment == "development"

    @property
    def worker_count(self) -> int:
        """WORKERS, or its default: 4, in development the number of cores but at most 4."""
        if self.server.workers is not None:
            return self.server.workers
        return min(4, os.cpu_count() or 1) if self.is_development else 4

    @property
    def process_count(self) -> int:
        """The workers of all instances."""
        return self.worker_count * self.server.instances


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads all settings; raises `SettingInvalid` with the name, the value and what is accepted."""
    environ = os.environ if environ is None else environ
    groups: dict[str, Any] = {}
    for group_name, group in _groups():
        raw = {
            name: value for name, field in group.model_fields.items() if (value := _read(field, environ)) is not None
        }
        groups[group_name] = _validated(group, raw)
    settings = Settings(**groups)
    _refuse_half_a_database(settings.stores)
    _refuse_unsafe_production(settings)
    return settings


def table() -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    """Every setting as (environment name, its group, its field), in the order of the file."""
    for _, group in _groups():
        for field in group.model_fields.values():
            yield env_name(field), group, field


def env_name(field: FieldInfo) -> str:
    return str(_extra(field)["env"])


def is_secret(field: FieldInfo) -> bool:
    return bool(_extra(field)["secret"])


def accepted(field: FieldInfo) -> str:
    """What a field takes, in words: "a whole number from 1 to 64"."""
    kind = _plain_type(field.annotation)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(kind, "text")
    if get_origin(kind) is tuple:
        words = "a comma-separated list"
    bounds = {}
    for part in field.metadata:
        bounds.update(
            {name: getattr(part, name) for name in ("ge", "gt", "le", "min_length", "pattern") if hasattr(part, name)}
        )
    if "pattern" in bounds:
        return _FORMS[bounds["pattern"]]
    low = f" from {bounds['ge']}" if "ge" in bounds else f" above {bounds['gt']}" if "gt" in bounds else ""
    high = f" to {bounds['le']}" if "le" in bounds else ""
    length = f" of at least {bounds['min_length']} characters" if "min_length" in bounds else ""
    return words + low + high + length


def _groups() -> Iterator[tuple[str, type[_Group]]]:
    for name, field in Settings.model_fields.items():
        group = field.annotation
        assert isinstance(group, type)
        assert issubclass(group, _Group)
        yield name, group


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra


def _plain_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _read(field: FieldInfo, environ: Mapping[str, str]) -> Any:
    name = env_name(field)
    text = environ.get(name, "")
    if not text and is_secret(field) and (path := environ.get(f"{name}_FILE", "")):
        text = _read_secret(f"{name}_FILE", path)
    if get_origin(_plain_type(field.annotation)) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip()) if name in environ else None
    return text or None


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(
            f"{name} is {path!r}, which cannot be read; it takes the path of a readable file."
        ) from error


def _validated(group: type[_Group], raw: dict[str, Any]) -> _Group:
    try:
        return group(**raw)
    except ValidationError as error:
        field_name = str(error.errors()[0]["loc"][0])
        field = group.model_fields[field_name]
        shown = "of the wrong form" if is_secret(field) else repr(raw[field_name])
        raise SettingInvalid(f"{env_name(field)} is {shown}; it takes {accepted(field)}.") from None


def _refuse_half_a_database(stores: StoreSettings) -> None:
    others = {"POSTGRES_OWNER_URL": stores.postgres_owner_url, "POSTGRES_REPLICA_URL": stores.postgres_replica_url}
    for name, url in others.items():
        if url is not None and stores.postgres_url is None:
            raise SettingInvalid(f"{name} is set and POSTGRES_URL is not; set both, or neither for SQLite.")


def _refuse_unsafe_production(settings: Settings) -> None:
    if settings.server.environment != "production":
        return
    if len(settings.keys.admin_key or "") < ADMIN_KEY_LENGTH_MIN:
        raise SettingInvalid(
            f"ADMIN_KEY is missing or short; production takes a secret of at least {ADMIN_KEY_LENGTH_MIN} characters "
            "in ADMIN_KEY or in the file that ADMIN_KEY_FILE names. "
            "For a trial on this machine set ENVIRONMENT=development."
        )
    if "*" in settings.server.allowed_origins:
        raise SettingInvalid("ALLOWED_ORIGINS is '*'; production takes a comma-separated list of exact origins.")
    stores = settings.stores
    urls = (stores.postgres_url, stores.postgres_owner_url, stores.postgres_replica_url)
    for name, url in zip(("POSTGRES_URL", "POSTGRES_OWNER_URL", "POSTGRES_REPLICA_URL"), urls, strict=True):
        if url is not None and _has_default_password(url):
            raise SettingInvalid(f"{name} has no password or a default one; production takes one of its own.")


def _has_default_password(url: str) -> bool:
    """A socket or a certificate says who one is without a password."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not password and (not parts.netloc.rpartition("@")[2] or "sslcert=" in parts.query):
        return False
    return password.lower() in _DEFAULT_PASSWORDS or password == user
