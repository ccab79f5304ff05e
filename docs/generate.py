"""Writes the reference pages and .env.example from the code; `--check` fails where one is stale.

What a page says of a setting, an error or a route stands in the code beside it, so that a new one
appears here without another edit.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from aiservice.api import openapi
from aiservice.api.surfaces import NATIVE
from aiservice.core import settings
from aiservice.core.errors import AIServiceError

ROOT: Final = Path(__file__).resolve().parents[1]
GENERATED: Final = "<!-- Written by `make docs` from the code; edit that instead. -->"
START_FAMILY: Final = "start."

TO_DO: Final[Mapping[int, str]] = {
    400: "Change the request as the message says; the same request again gets the same answer.",
    401: "Send a valid key in `X-API-Key` (or `Authorization: Bearer`); ask your operator for one.",
    403: "Use a key that has the right, or ask your operator to widen this one.",
    404: "Correct the path, the id or the name.",
    405: "Use a method that the `Allow` header or the routes page names.",
    409: "Wait as many seconds as `Retry-After` says, then send it again.",
    413: "Send less; the operator can raise BODY_BYTES_MAX.",
    415: "Send `Content-Type: application/json`, without compression.",
    422: "Correct the field that `param` names.",
    429: "Wait as many seconds as `Retry-After` says, then send it again.",
    500: "Send it again later; give the operator the `X-Request-ID` of the answer.",
    502: "Send it again; a request that an engine failed is not counted against your limit.",
    503: "Wait as many seconds as `Retry-After` says, then send it again.",
    504: "Send it again, or ask for fewer tokens.",
}
TO_DO_CODE: Final[Mapping[str, str]] = {
    "cache.not_cached": "Send it without `only-if-cached`.",
    "request.keys_conflict": "Send one key, in one header.",
    "request.idempotency_mismatch": "Send the first request again as it was, or take a new key for this one.",
    "usage.spool_full": "As a caller wait; as the operator free space on the disk of DATA_DIR.",
    "stores.unavailable": "As a caller wait; as the operator look at `GET /health` and at the disk of DATA_DIR.",
}
TO_DO_AT_START: Final = "Change what the message names and start again."


def pages() -> Mapping[str, str]:
    """Every generated file by its path from the root."""
    document = openapi.document()
    return {
        ".env.example": env_example(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/errors.md": errors_page(),
        "docs/reference/openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "docs/reference/routes.md": routes_page(document),
    }


def env_example() -> str:
    lines = [
        "# Every setting with its default. Copy it, uncomment what you change, and make it the service's environment:",
        "# `set -a; . ./.env; set +a` in a shell, `EnvironmentFile=` in systemd, `env_file:` in Compose.",
        "# Written by `make docs` from aiservice/core/settings.py.",
    ]
    for group, rows in _setting_groups():
        lines += ["", f"# --- {_summary(group)}"]
        for name, field in rows:
            lines += [
                "",
                f"# {field.description}",
                f"# Takes {settings.accepted(field)}.",
                f"#{name}={_default(field)}",
            ]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        GENERATED,
        "",
        "Read once, at the start, from the environment. A value that is not accepted stops the start with its name,",
        "the value and what is accepted. An empty value is an unset one. A secret may come from a file instead:",
        "`NAME_FILE` holds its path (for Docker secrets).",
    ]
    for group, rows in _setting_groups():
        lines += [
            "",
            f"## {_summary(group).rstrip('.')}",
            "",
            "| name | default | takes | what it does |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_row(*_setting_cells(name, field)) for name, field in rows]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        GENERATED,
        "",
        "Every refusal has the same body, and a `code` that does not change between versions. `param` names the field",
        "at fault or is null. Where waiting helps there is a `Retry-After` header. In a stream the body is an event.",
        "",
        "| code | status | type | may succeed unchanged, later |",
        "| --- | --- | --- | --- |",
    ]
    tree = list(_errors(AIServiceError))
    lines += [_row(f"[`{e.code}`](#{_anchor(e.code)})", _status(e), f"`{e.type}`", _again(e)) for e in tree]
    for error in tree:
        lines += ["", *_error_section(error)]
    return "\n".join(lines) + "\n"


def routes_page(document: Mapping[str, Any]) -> str:
    lines = [
        "# Routes",
        "",
        GENERATED,
        "",
        "The whole description of every body is in [openapi.json](openapi.json); the service shows it at `/docs`.",
        "",
        "| route | what it does | key |",
        "| --- | --- | --- |",
    ]
    operations = list(_operations(document))
    lines += [
        _row(
            f"[`{method} {path}`](#{_anchor(f'{method} {path}')})",
            operation.get("summary", ""),
            _key(document, operation),
        )
        for method, path, operation in operations
    ]
    for method, path, operation in operations:
        lines += ["", f"## {method} {path}", "", *_route_section(document, operation)]
    return "\n".join(lines) + "\n"


def _setting_groups() -> Iterator[tuple[type, list[tuple[str, FieldInfo]]]]:
    for group, rows in groupby(settings.table(), key=lambda row: row[1]):
        yield group, [(name, field) for name, _, field in rows]


def _setting_cells(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    shown = f"`{name}`" + (f" or `{name}_FILE`" if settings.is_secret(field) else "")
    default = _default(field)
    return shown, f"`{default}`" if default else "unset", settings.accepted(field), field.description or ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"./{value}" if isinstance(value, Path) and not value.is_absolute() else str(value)


def _errors(root: type[AIServiceError]) -> Iterator[type[AIServiceError]]:
    """Every class with a code of its own; a room's subclass that only carries facts has its family's."""
    for child in root.__subclasses__():
        if "code" in vars(child):
            yield child
            yield from _errors(child)


def _error_section(error: type[AIServiceError]) -> list[str]:
    lines = [f"## {error.code}", "", " ".join((inspect.getdoc(error) or "").split()), ""]
    if error.code.startswith(START_FAMILY):
        return [*lines, f"Said on the command line, before the service listens. {TO_DO_AT_START}"]
    what_to_do = TO_DO_CODE.get(error.code) or TO_DO[error.status]
    example = json.dumps(json.loads(NATIVE.body(error(), "")), indent=2)
    return [*lines, f"Status {error.status}, type `{error.type}`. {what_to_do}", "", "```json", example, "```"]


def _status(error: type[AIServiceError]) -> str:
    return "-" if error.code.startswith(START_FAMILY) else str(error.status)


def _again(error: type[AIServiceError]) -> str:
    return "yes" if error.is_retryable else "no"


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _key(document: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    schemes = document.get("components", {}).get("securitySchemes", {})
    needed = [name for row in operation.get("security", document.get("security", [])) for name in row]
    headers = [f"`{schemes[name].get('name', 'Authorization')}`" for name in needed if name in schemes]
    return " or ".join(dict.fromkeys(headers)) or "none"


def _route_section(document: Mapping[str, Any], operation: Mapping[str, Any]) -> list[str]:
    lines = [operation.get("description") or operation.get("summary", "")]
    if parameters := operation.get("parameters"):
        lines += ["", *_fields("parameter", [_parameter_cells(document, parameter) for parameter in parameters])]
    if body := _json_schema(operation.get("requestBody", {})):
        lines += ["", *_fields("body field", _schema_cells(document, body))]
    lines += ["", "| status | what it means |", "| --- | --- |"]
    lines += [_row(status, response.get("description", "")) for status, response in operation["responses"].items()]
    for status, response in operation["responses"].items():
        if status.startswith("2") and (cells := _schema_cells(document, _json_schema(response))):
            lines += ["", *_fields(f"answer {status}", cells)]
    return lines


def _fields(title: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    return [f"| {title} | type | meaning |", "| --- | --- | --- |", *(_row(*row) for row in rows)]


def _parameter_cells(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> tuple[str, str, str]:
    schema = parameter.get("schema", {})
    name = f"`{parameter['name']}` ({parameter['in']}{', required' if parameter.get('required') else ''})"
    return name, _type(document, schema), parameter.get("description") or schema.get("description", "")


def _json_schema(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = holder.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _schema_cells(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    resolved = _resolve(document, schema)
    required = resolved.get("required", ())
    return [
        (f"`{name}`{' (required)' if name in required else ''}", _type(document, field), field.get("description", ""))
        for name, field in resolved.get("properties", {}).items()
    ]


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words: "number 0..2 = 0.7", "list of string", "stop or null"."""
    for joined in ("anyOf", "oneOf"):
        if joined in schema:
            return " or ".join(dict.fromkeys(_type(document, part) for part in schema[joined])) + _default_of(schema)
    resolved = _resolve(document, schema)
    if "enum" in resolved:
        return " / ".join(json.dumps(value) for value in resolved["enum"]) + _default_of(schema)
    if "const" in resolved:
        return json.dumps(resolved["const"])
    kind = resolved.get("type", "any")
    if kind == "array":
        kind = f"list of {_type(document, resolved.get('items', {}))}"
    return str(kind) + _range(resolved) + _default_of(schema)


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    return "" if low is None and high is None else f" {'' if low is None else low}..{'' if high is None else high}"


def _default_of(schema: Mapping[str, Any]) -> str:
    return f" = {json.dumps(schema['default'])}" if schema.get("default") is not None else ""


def _summary(group: type) -> str:
    return (inspect.getdoc(group) or "").partition("\n")[0]


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _anchor(heading: str) -> str:
    """The id that Markdown viewers give a heading."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def stale(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """The files below `folder` that are missing or differ."""
    return [
        name
        for name, text in wanted.items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text
    ]


def write(folder: Path, wanted: Mapping[str, str]) -> None:
    for name in stale(folder, wanted):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    parser.add_argument("--into", type=Path, default=ROOT, metavar="DIR", help="the root to write below")
    chosen = parser.parse_args(arguments)
    wanted = pages()
    if not chosen.check:
        write(chosen.into, wanted)
        return 0
    names = stale(chosen.into, wanted)
    for name in names:
        sys.stderr.write(f"{name} is stale: run `make docs` and commit it.\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
