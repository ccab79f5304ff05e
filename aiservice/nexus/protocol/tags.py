"""The tags of the dialect `tags`, as models write them: any case, any quotes, many names."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from aiservice.nexus.protocol.marks import is_path, plain

Kind = Literal["write", "edit", "rename", "delete", "dependency"]
_KINDS: Mapping[str, Kind] = {
    "file": "write",
    "write": "write",
    "create": "write",
    "writefile": "write",
    "createfile": "write",
    "action": "write",
    "edit": "edit",
    "editfile": "edit",
    "searchreplace": "edit",
    "rename": "rename",
    "renamefile": "rename",
    "move": "rename",
    "delete": "delete",
    "deletefile": "delete",
    "remove": "delete",
    "adddependency": "dependency",
    "dependency": "dependency",
}
_PREFIXES = ("dyad", "bolt", "nexus", "lov")
_PATH_NAMES = ("path", "filepath", "file", "filename", "name", "title", "src", "target")
_FROM_NAMES = ("from", "oldpath", "old", "source", *_PATH_NAMES)
_TO_NAMES = ("to", "newpath", "new", "destination", "dest")
_PACKAGE_NAMES = ("packages", "package", "name", "dependencies", "dependency")
TAG_CHARS_MAX = 1_000

_START = re.compile(r"<(/?)([A-Za-z][A-Za-z_-]{0,30})(?=[\s/>:=\"'])")
_PART = re.compile(
    r"[\s:,]*(?:([A-Za-z_][\w-]*)\s*=\s*)?(?:\"([^\"]*)\"|'([^']*)'|\{\s*[\"']?([^}\"']*)[\"']?\s*\}|([^\s\"'<>=]+))"
)
_END = re.compile(r"\s*(/?)>")
_UNFINISHED = re.compile(r"\s*<[A-Za-z][A-Za-z_-]{0,30}(?:\s+[\w-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>=]+))*\s*$")
_GOES_ON = re.compile(r"\s*(?:[\w-]+\s*=\s*\S|/?>)")


class Tag(NamedTuple):
    """A tag at `start` to `end` of its line. `name` is as it was written, for its end tag."""

    kind: Kind
    name: str
    start: int
    end: int
    is_end: bool
    is_empty: bool
    attributes: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path under any of its names, else any attribute that looks like one, else nothing."""
        path = self._first(_FROM_NAMES if self.kind == "rename" else _PATH_NAMES)
        return plain(path or next((value for value in self.attributes.values() if is_path(value)), ""))

    @property
    def to(self) -> str:
        """The new path of a renamed file."""
        return plain(self._first(_TO_NAMES))

    @property
    def packages(self) -> tuple[str, ...]:
        """The names that a dependency tag asks for."""
        return tuple(self._first(_PACKAGE_NAMES).replace(",", " ").split())

    def _first(self, names: tuple[str, ...]) -> str:
        return next((self.attributes[name] for name in names if self.attributes.get(name)), "")


def tags_in_line(line: str, at: int) -> Iterator[Tag]:
    """The known tags of a line from `at` on, but those within quoted code and those of nothing."""
    for found in _START.finditer(line, at):
        kind = _kind(found[2])
        if kind is None or line[found.start() - 1 : found.start()] == "`":
            continue
        tag = _read(line, found, kind)
        if tag is not None and (tag.is_end or _says_something(tag, line)):
            yield tag


def is_unfinished(line: str) -> bool:
    """Whether a line is the beginning of a known tag that goes on in the next one."""
    if len(line) > TAG_CHARS_MAX or not _UNFINISHED.match(line):
        return False
    found = _START.search(line + " ")
    return found is not None and _kind(found[2]) is not None


def goes_on(line: str) -> bool:
    """Whether a line may go on with an unfinished tag: an attribute or the end of one."""
    return _GOES_ON.match(line) is not None


def _kind(name: str) -> Kind | None:
    word = re.sub(r"[_-]", "", name).lower()
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return _KINDS.get(word)


def _read(line: str, found: re.Match[str], kind: Kind) -> Tag | None:
    stop = found.start() + TAG_CHARS_MAX
    attributes: dict[str, str] = {}
    at, is_empty = found.end(), False
    while (end := _END.match(line, at, stop)) is None:
        part = _PART.match(line, at, stop)
        if part is None:
            return None
        at = part.end()
        value = next((group for group in part.groups()[1:] if group is not None), "")
        if value.endswith("/") and part[5] is not None and line.startswith(">", at):
            value, is_empty = value[:-1], True
        key = re.sub(r"[_-]", "", part[1] or f"bare{len(attributes)}").lower()
        if value.strip():
            attributes.setdefault(key, value.strip().strip("“”‘’`"))
    is_empty = is_empty or bool(end[1])
    return Tag(kind, found[2], found.start(), end.end(), bool(found[1]), is_empty, attributes)


def _says_something(tag: Tag, line: str) -> bool:
    if tag.kind == "dependency":
        return bool(tag.packages)
    if tag.kind == "rename":
        return bool(tag.path and tag.to)
    if "action" in tag.name.lower() and tag.attributes.get("type") != "file":
        return False
    is_alone = tag.kind == "write" and not tag.is_empty and len(line) < TAG_CHARS_MAX and line.strip().startswith("<")
    return bool(tag.path) or (is_alone and tag.end == len(line.rstrip()))


class EndTag(NamedTuple):
    """Where a file's text ends in a line, and where what follows the tag begins; `start` is -1 where it goes on.

    `depth` counts the elements of the same name that are open within the file.
    """

    start: int
    end: int
    depth: int


def end_tag(line: str, at: int, name: str, *, depth: int = 0) -> EndTag:
    """Looks for the end tag of `name` from `at` on, past elements of that name within the file.

    Components may have it (`<File></File>`), so it counts over lines where it begins in upper case. In another case the
    tag ends the file only as a whole line that is not indented.
    """
    opened = depth
    for found in re.compile(rf"<(?:(/){name}>|{name}(?=[\s>])([^<>]*)>)").finditer(line, at):
        if found[1] is None:
            opened += not found[2].endswith("/")
        elif opened:
            opened -= 1
        else:
            return EndTag(found.start(), found.end(), 0)
    if at == 0 and len(line) < TAG_CHARS_MAX and line.rstrip().lower() == f"</{name}>".lower() and name not in line:
        return EndTag(0, len(line), 0)
    return EndTag(-1, -1, opened if name[:1].isupper() else 0)
