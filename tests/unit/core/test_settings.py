"""Settings: every bound, every source, every refusal."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from aiservice.core import settings
from aiservice.core.errors import SettingInvalid

DEVELOPMENT = {"ENVIRONMENT": "development"}
ADMIN_KEY = "a-secret-of-at-least-32-characters"

# The names that the operator's document fixes, with their defaults.
FIXED = {
    "WORKERS": None,
    "CACHE_TTL": 3600,
    "OLLAMA_URL": ("http://127.0.0.1:11434",),
    "REDIS_HOST": None,
    "POSTGRES_URL": None,
    "DEFAULT_RATE_LIMIT": 100,
    "DEFAULT_RATE_WINDOW": 3600,
    "DEFAULT_MODEL": "llama3.2:1b",
    "MODEL_TEMPERATURE": 0.7,
    "MODEL_MAX_TOKENS": 500,
}


def rows() -> dict[str, FieldInfo]:
    return {name: field for name, _, field in settings.table()}


def value_of(loaded: settings.Settings, env: str) -> object:
    for group in type(loaded).model_fields:
        part = getattr(loaded, group)
        for name, field in type(part).model_fields.items():
            if settings.env_name(field) == env:
                return getattr(part, name)
    raise KeyError(env)


def bounds() -> list[tuple[str, float, bool]]:
    """Every numeric bound as (setting, value at or beyond it, whether it is accepted)."""
    cases: list[tuple[str, float, bool]] = []
    for name, field in rows().items():
        for part in field.metadata:
            for bound, outward in (("ge", -1), ("le", 1)):
                if (limit := getattr(part, bound, None)) is not None:
                    cases += [(name, limit, True), (name, limit + outward, False)]
            if (limit := getattr(part, "gt", None)) is not None:
                cases += [(name, limit, False), (name, limit + 0.001, True)]
    return cases


@pytest.mark.parametrize(("name", "default"), FIXED.items())
def test_fixed_names_and_defaults(name: str, default: object):
    assert value_of(settings.load(DEVELOPMENT), name) == default


def test_names_are_unique_and_have_help():
    table = list(settings.table())

    assert len({name for name, _, _ in table}) == len(table)
    assert [name for name, _, field in table if not (field.description or "").endswith(".")] == []


def test_the_table_holds_every_field():
    groups = [field.annotation for field in settings.Settings.model_fields.values()]

    assert len(rows()) == sum(len(group.model_fields) for group in groups if group is not None)


def test_every_number_is_bounded_below():
    numbers = {name for name, field in rows().items() if settings.accepted(field).startswith(("a whole", "a number"))}

    assert numbers - {name for name, _, is_accepted in bounds() if is_accepted} == set()


@pytest.mark.parametrize(("name", "value", "is_accepted"), bounds())
def test_bounds(name: str, value: float, is_accepted: bool):
    environ = {**DEVELOPMENT, name: str(value)}

    if is_accepted:
        assert value_of(settings.load(environ), name) == value
    else:
        with pytest.raises(SettingInvalid, match=f"^{name} is '{value}'; it takes a (whole )?number (from|above) "):
            settings.load(environ)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("WORKERS", "2.5", "a whole number from 1 to 64"),
        ("MODEL_TEMPERATURE", "warm", "a number from 0 to 2"),
        ("ENVIRONMENT", "staging", "one of production, development, test"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("RATE_LIMIT_STRICT", "perhaps", "true or false"),
        ("POSTGRES_URL", "mysql://x", "an address that begins with postgresql://"),
        ("POSTGRES_OWNER_URL", "postgresql://u:p@[::1/x", "an address that begins with postgresql://"),
        (
            "REDIS_URL",
            "127.0.0.1",
            "an address that begins with redis://, rediss://, redis+cluster:// or redis+sentinel://",
        ),
    ],
)
def test_a_wrong_value_says_what_is_accepted(name: str, value: str, accepted: str):
    with pytest.raises(SettingInvalid) as caught:
        settings.load({**DEVELOPMENT, name: value})

    assert caught.value.public.startswith(f"{name} is ")
    assert caught.value.public.endswith(f"; it takes {accepted}.")


def test_a_wrong_secret_is_not_shown():
    with pytest.raises(SettingInvalid) as caught:
        settings.load({**DEVELOPMENT, "KEY_PEPPER": "too-short-to-be-shown"})

    assert caught.value.public == "KEY_PEPPER is of the wrong form; it takes text of at least 32 characters."
    assert caught.value.__cause__ is None


def test_secrets_are_not_in_the_representation():
    loaded = settings.load({**DEVELOPMENT, "ADMIN_KEY": ADMIN_KEY, "OPENAI_API_KEY": "sk-not-shown"})

    assert ADMIN_KEY not in repr(loaded)
    assert "sk-not-shown" not in repr(loaded)


def test_a_secret_may_come_from_a_file(tmp_path: Path):
    (tmp_path / "admin").write_text(f"{ADMIN_KEY}\n")

    loaded = settings.load({"ADMIN_KEY_FILE": str(tmp_path / "admin")})

    assert loaded.keys.admin_key == ADMIN_KEY


def test_a_value_wins_over_its_file(tmp_path: Path):
    (tmp_path / "admin").write_text("from the file, which is long enough")

    loaded = settings.load({"ADMIN_KEY": ADMIN_KEY, "ADMIN_KEY_FILE": str(tmp_path / "admin")})

    assert loaded.keys.admin_key == ADMIN_KEY


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "binary"])
def test_an_unreadable_secret_file_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "admin"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingInvalid, match=r"^ADMIN_KEY_FILE is .*, which cannot be read"):
        settings.load({"ADMIN_KEY_FILE": str(path)})


def test_only_secrets_come_from_files(tmp_path: Path):
    (tmp_path / "port").write_text("6001")

    assert settings.load({**DEVELOPMENT, "PORT_FILE": str(tmp_path / "port")}).server.port == 5001


@pytest.mark.parametrize("name", sorted(rows().keys() - {"ENVIRONMENT"}))
def test_an_empty_value_is_an_unset_one(name: str):
    default = value_of(settings.load(DEVELOPMENT), name)

    assert value_of(settings.load({**DEVELOPMENT, name: ""}), name) == (() if isinstance(default, tuple) else default)


def test_lists_are_split_and_trimmed():
    loaded = settings.load({**DEVELOPMENT, "OLLAMA_URL": " http://a:1 ,, http://b:2,"})

    assert loaded.engines.ollama_urls == ("http://a:1", "http://b:2")


def test_settings_are_frozen():
    loaded = settings.load(DEVELOPMENT)

    with pytest.raises(ValidationError):
        loaded.server.port = 1


@pytest.mark.parametrize("name", ["POSTGRES_OWNER_URL", "POSTGRES_REPLICA_URL"])
def test_a_database_needs_its_first_address(name: str):
    with pytest.raises(SettingInvalid, match=f"^{name} is set and POSTGRES_URL is not; set both"):
        settings.load({**DEVELOPMENT, name: "postgresql://ann:of-her-own@db.example/service"})


class TestProduction:
    @pytest.mark.parametrize("admin_key", [None, "", "x" * 31])
    def test_needs_a_long_admin_key(self, admin_key: str | None):
        environ = {} if admin_key is None else {"ADMIN_KEY": admin_key}

        with pytest.raises(
            SettingInvalid, match=r"^ADMIN_KEY is missing or short; production takes a secret of at least 32"
        ):
            settings.load(environ)

    def test_is_the_default(self):
        loaded = settings.load({"ADMIN_KEY": "x" * 32})

        assert loaded.server.environment == "production"
        assert not loaded.is_development

    def test_refuses_every_origin(self):
        with pytest.raises(SettingInvalid, match=r"^ALLOWED_ORIGINS is '\*'; production takes"):
            settings.load({"ADMIN_KEY": ADMIN_KEY, "ALLOWED_ORIGINS": "https://a.example, *"})

    @pytest.mark.parametrize("name", ["POSTGRES_URL", "POSTGRES_OWNER_URL", "POSTGRES_REPLICA_URL"])
    @pytest.mark.parametrize(
        "login",
        ["", "ann@", "ann:@", "postgres:postgres@", "ann:ann@", "ann:Password@", "ann:changeme@", "a%6En:ann@"],
    )
    def test_refuses_a_default_password(self, name: str, login: str):
        environ = {"ADMIN_KEY": ADMIN_KEY, "POSTGRES_URL": "postgresql://ann:of-her-own@db.example/service"}

        with pytest.raises(SettingInvalid, match=f"^{name} has no password or a default one; production takes"):
            settings.load({**environ, name: f"postgresql://{login}db.example:5432/service"})

    @pytest.mark.parametrize(
        "address",
        [
            "ann:good%40one@db.example,other.example:5433/service",
            "/service?host=/run/postgresql",
            "ann@/service?host=/run/postgresql",
            "ann@db.example/service?sslmode=verify-full&sslcert=ann.pem&sslkey=ann.key",
        ],
    )
    def test_accepts_a_password_of_its_own_a_socket_and_a_certificate(self, address: str):
        loaded = settings.load({"ADMIN_KEY": ADMIN_KEY, "POSTGRES_URL": f"postgresql://{address}"})

        assert loaded.stores.postgres_url == f"postgresql://{address}"

    def test_development_accepts_a_default_password(self):
        loaded = settings.load({**DEVELOPMENT, "POSTGRES_URL": "postgresql://postgres:postgres@localhost/x"})

        assert loaded.stores.postgres_url is not None

    def test_development_accepts_both(self):
        loaded = settings.load({**DEVELOPMENT, "ALLOWED_ORIGINS": "*"})

        assert loaded.server.allowed_origins == ("*",)
        assert loaded.keys.admin_key is None


class TestWorkers:
    def test_four_in_production(self):
        assert settings.load({"ADMIN_KEY": ADMIN_KEY}).worker_count == 4

    def test_at_most_four_in_development(self):
        assert 1 <= settings.load(DEVELOPMENT).worker_count <= 4

    def test_as_set(self):
        assert settings.load({**DEVELOPMENT, "WORKERS": "7"}).worker_count == 7
