"""ENGINES_FILE: further engines, with names, keys and prices of their own, as TOML.

[[engine]]
name = "cloud"                    # what clients put before the slash: cloud/some-model
kind = "openai_compat"            # or "ollama"
url = "https://llm.example.com/v1"
api_key_file = "/run/secrets/cloud"   # or api_key = "..."
prices = { "some-model" = { prompt = 0.15, completion = 0.60 } }   # currency units per million tokens
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiservice.core.errors import SettingInvalid
from aiservice.engines.http import is_http_url
from aiservice.engines.model import EngineKind, EngineSpec, Price

FIELDS = ("name", "kind", "url", "api_key", "api_key_file", "prices")
KINDS: Mapping[str, EngineKind] = {"ollama": "ollama", "openai_compat": "openai_compat"}
NANO_PER_TOKEN = 1_000  # of one currency unit per million tokens
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def read_engines_file(path: Path, *, taken: frozenset[str]) -> list[EngineSpec]:
    """The file's engines; raises `SettingInvalid` that names file, row and field. `taken` names are refused."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"ENGINES_FILE is {str(path)!r}, which cannot be read.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(f"ENGINES_FILE {path} is not TOML: {error}.") from error
    rows = content.get("engine")
    if set(content) != {"engine"} or not isinstance(rows, list):
        raise SettingInvalid(f"ENGINES_FILE {path} takes a list of [[engine]] tables and nothing else.")
    found: list[EngineSpec] = []
    for number, row in enumerate(rows, start=1):
        names = taken | {spec.name for spec in found}
        found.append(_Row(path, number, row if isinstance(row, dict) else {}).spec(names))
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    number: int
    fields: Mapping[str, Any]

    def spec(self, taken: frozenset[str]) -> EngineSpec:
        for field in self.fields:
            if field not in FIELDS:
                raise self.wrong(field, f"is not known; there are {', '.join(FIELDS)}")
        name, kind, url = self.text("name"), self.text("kind"), self.text("url")
        if not _NAME.fullmatch(name):
            raise self.wrong("name", "takes 1 to 63 of a-z, 0-9, dot, dash and underscore")
        if name in taken:
            raise self.wrong("name", f"is {name!r}, which another engine has")
        if kind not in KINDS:
            raise self.wrong("kind", f"takes one of {', '.join(KINDS)}")
        if not is_http_url(url):
            raise self.wrong("url", "takes an address that begins with http:// or https://")
        return EngineSpec(name, KINDS[kind], url, api_key=self.api_key(), group=name, prices=self.prices())

    def text(self, field: str) -> str:
        value = self.fields.get(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, "takes text" if field in self.fields else "is missing")
        return value

    def api_key(self) -> str | None:
        if "api_key_file" not in self.fields:
            return self.text("api_key") if "api_key" in self.fields else None
        if "api_key" in self.fields:
            raise self.wrong("api_key_file", "excludes api_key")
        path = self.path.parent / self.text("api_key_file")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong("api_key_file", f"is {str(path)!r}, which cannot be read") from error

    def prices(self) -> dict[str, Price]:
        prices = self.fields.get("prices", {})
        if not isinstance(prices, dict):
            raise self.wrong("prices", "takes a table of models")
        return {model: self.price(model, price) for model, price in prices.items()}

    def price(self, model: str, price: object) -> Price:
        if not isinstance(price, dict) or set(price) != {"prompt", "completion"}:
            raise self.wrong("prices", f"takes prompt and completion for {model!r}")
        if not all(_is_amount(amount) for amount in price.values()):
            raise self.wrong("prices", f"takes numbers from 0 to 1000000 for {model!r}")
        return Price(round(price["prompt"] * NANO_PER_TOKEN), round(price["completion"] * NANO_PER_TOKEN))

    def wrong(self, field: str, what: str) -> SettingInvalid:
        return SettingInvalid(f"ENGINES_FILE {self.path}, engine {self.number}: the field {field!r} {what}.")


def _is_amount(amount: object) -> bool:
    return isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount <= 1_000_000
