"""The smallest value that satisfies a JSON schema, made of what a text says where it says something that fits.

Honoured: types (also several, and none), enum, const, $ref inside the document, anyOf, oneOf, allOf, required,
properties, additionalProperties, minProperties, items, prefixItems, minItems, uniqueItems, formats and lengths of
strings, bounds and steps of numbers. Not honoured: patterns of strings, not, if, dependencies.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiservice.core.errors import EngineRefused
from aiservice.engines import failures

TEXT = "text"
FORMATS: Mapping[str, str] = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”|‘([^’\n]+)’|(?<!\w)\'([^\'\n]+)\'(?!\w)')
# Words that begin with a capital and follow each other are one name, as in `San Francisco, CA`.
_NAME = re.compile(r"(?<![\w'])[^\W\d_a-z][\w-]*(?:,? [^\W\d_a-z][\w-]*)*")
_OPENING_WORDS = (
    "a add an and answer are ask book call can compute convert could count create describe do does extract fetch find "
    "for from generate get give hello hey hi how i if in is it let list look make my name now on our parse please put "
    "return run say search send set should show summarize tell that the there these they this translate use using "
    "weather what when where which who why will with would write you"
)
# They begin a sentence and are nobody's name.
_OPENERS = frozenset(_OPENING_WORDS.split())
_UNTYPED: Mapping[str, str] = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array"}

Schema = Mapping[str, Any] | bool


class Hints:
    """The numbers and names of a text; each is taken once, in order, by the first field that it fits."""

    def __init__(self, text: str) -> None:
        self._numbers = [float(found) if "." in found else int(found) for found in _NUMBER.findall(text)]
        self._strings = [*_quoted(text), *_names(text)]

    def number(self, schema: Mapping[str, Any], *, is_integer: bool) -> int | float | None:
        for row, number in enumerate(self._numbers):
            if _fits(number, schema) and not (is_integer and isinstance(number, float)):
                return self._numbers.pop(row)
        return None

    def string(self, length_min: int, length_max: float) -> str | None:
        for row, string in enumerate(self._strings):
            if length_min <= len(string) <= length_max:
                return self._strings.pop(row)
        return None


def example(schema: Schema, text: str = "") -> Any:
    """A value of `schema`; raises `EngineRefused` where it allows none, or none that ends."""
    return _Maker(schema, Hints(text)).value(schema)


def _none(why: str) -> EngineRefused:
    return EngineRefused(f"The scripted engine has no value of the schema: {failures.cleaned(why)}.")


class _Maker:
    """Makes the values of one document; `open_refs` are the references inside which a value is being made."""

    def __init__(self, document: Schema, hints: Hints) -> None:
        self._document = document
        self._hints = hints
        self._open_refs: list[str] = []

    def value(self, schema: Schema, nth: int = 0) -> Any:
        """`nth` tells the values of an array apart whose items have to differ."""
        if schema is False:
            raise _none("nothing is allowed")
        if schema is True:
            return TEXT
        if "$ref" in schema:
            return self._referred(schema, nth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][min(nth, len(schema["enum"]) - 1)]
        for word in ("allOf", "anyOf", "oneOf"):
            if schema.get(word):
                return self._combined(schema, word, nth)
        return self._typed(schema, nth)

    def _referred(self, schema: Mapping[str, Any], nth: int) -> Any:
        pointer = schema["$ref"]
        if pointer in self._open_refs:
            raise _none(f"{pointer} refers to itself")
        self._open_refs.append(pointer)
        try:
            rest = {word: part for word, part in schema.items() if word != "$ref"}
            return self.value(_merged(rest, self._resolved(pointer)), nth)
        finally:
            self._open_refs.pop()

    def _resolved(self, pointer: str) -> Schema:
        found: Any = self._document
        for part in pointer.removeprefix("#").strip("/").split("/") if pointer != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            if not pointer.startswith("#") or not isinstance(found, Mapping) or key not in found:
                raise _none(f"{pointer} leads nowhere")
            found = found[key]
        return found  # type: ignore[no-any-return]

    def _combined(self, schema: Mapping[str, Any], word: str, nth: int) -> Any:
        rest: Schema = {key: part for key, part in schema.items() if key != word}
        if word == "allOf":
            for part in schema[word]:
                rest = _merged(rest, self._resolved(part["$ref"]) if _is_ref(part) else part)
            return self.value(rest, nth)
        # The null of an optional value is the last resort: an answer that says something is the better example.
        alternatives = sorted(schema[word], key=lambda part: part in ({"type": "null"}, False))
        for part in alternatives:
            try:
                return self.value(_merged(rest, part), nth)
            except EngineRefused:
                continue
        raise _none(f"{word} allows nothing")

    def _typed(self, schema: Mapping[str, Any], nth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, Sequence) and not isinstance(kind, str):
            kind = next((name for name in kind if name != "null"), "null")
        if kind is None:
            kind = next((name for word, name in _UNTYPED.items() if word in schema), "string")
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind in {"integer", "number"}:
            return self._number(schema, kind == "integer", nth)
        if kind == "string":
            return self._string(schema, nth)
        return nth > 0 if kind == "boolean" else None

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        required = set(schema.get("required", ()))
        ordered = [name for name in properties if name in required]
        ordered += [name for name in schema.get("required", ()) if name not in properties]
        ordered += [name for name in properties if name not in required][: _missing(schema, ordered)]
        ordered += [f"key{n}" for n in range(1, 1 + _missing(schema, ordered))]
        return {name: self.value(properties.get(name, more)) for name in ordered}

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        first = schema.get("prefixItems", ())
        count = schema.get("minItems", 0)
        items = schema.get("items", True)
        is_unique = schema.get("uniqueItems", False)
        return [self.value(first[n] if n < len(first) else items, n if is_unique else 0) for n in range(count)]

    def _number(self, schema: Mapping[str, Any], is_integer: bool, nth: int) -> int | float:
        said = self._hints.number(schema, is_integer=is_integer)
        return _nearest_to_zero(schema, is_integer, nth) if said is None else said

    def _string(self, schema: Mapping[str, Any], nth: int) -> str:
        if (fixed := FORMATS.get(schema.get("format", ""))) is not None:
            return fixed
        length_min, length_max = int(schema.get("minLength", 0)), float(schema.get("maxLength", math.inf))
        said = self._hints.string(length_min, length_max)
        if said is not None:
            return said
        text = f"{TEXT}{nth}" if nth else TEXT
        text = text * max(1, -(-length_min // len(text)))
        return text if len(text) <= length_max else text[: int(length_max)]


def _merged(one: Schema, other: Schema) -> Schema:
    """Both schemas as one: what only one says holds, and of what both say the second, properties joined."""
    if isinstance(one, bool) or isinstance(other, bool):
        if False in (one, other):
            return False
        return other if isinstance(one, bool) else one
    properties = {**one.get("properties", {}), **other.get("properties", {})}
    required = [
        *one.get("required", ()),
        *(name for name in other.get("required", ()) if name not in one.get("required", ())),
    ]
    joined = {**({"properties": properties} if properties else {}), **({"required": required} if required else {})}
    return {**one, **other, **joined}


def _is_ref(schema: Schema) -> bool:
    return not isinstance(schema, bool) and "$ref" in schema


def _missing(schema: Mapping[str, Any], names: Sequence[str]) -> int:
    return max(0, int(schema.get("minProperties", 0)) - len(names))


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    """The bounds, whether or not they belong to the range."""
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    return low, high


def _fits(number: float, schema: Mapping[str, Any]) -> bool:
    low, high = _bounds(schema)
    is_outside = number in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf")
    return low <= number <= high and not is_outside and (step is None or math.isclose(number % step, 0, abs_tol=1e-9))


def _nearest_to_zero(schema: Mapping[str, Any], is_integer: bool, nth: int) -> int | float:
    fitting = [number for number in _candidates(schema, is_integer) if _fits(number, schema)]
    first = min(fitting, key=abs, default=None)
    step: int | float = schema.get("multipleOf", 1)
    for sign in (1, -1):
        if first is not None and _fits(number := first + sign * step * nth, schema):
            return number
    raise _none("no number is in the range")


def _candidates(schema: Mapping[str, Any], is_integer: bool) -> Iterator[int | float]:
    low, high = _bounds(schema)
    step = schema.get("multipleOf", 1)
    yield 0
    for bound, sign in ((low, 1), (high, -1)):
        if math.isfinite(bound):
            first = (math.ceil if sign > 0 else math.floor)(bound / step)
            yield from (step * first, step * (first + sign))
    if not is_integer and math.isfinite(low) and math.isfinite(high):
        yield (low + high) / 2


def _quoted(text: str) -> list[str]:
    return ["".join(found) for found in _QUOTED.findall(text)]


def _names(text: str) -> list[str]:
    """What has capitals, but for the ordinary words that only begin a sentence."""
    found = [_without_openers(name) for name in _NAME.findall(_QUOTED.sub(" ", text))]
    return [name for name in found if name]


def _without_openers(name: str) -> str:
    first, _, rest = name.partition(" ")
    return _without_openers(rest) if first.strip(",").lower() in _OPENERS else name
