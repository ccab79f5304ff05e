"""What the dialects are marked with: path lines, fences and the markers of search/replace blocks. All read one line."""

import re
from typing import Literal, NamedTuple

_EXTENSIONS = frozenset(
    {
        "astro", "bat", "c", "cjs", "cpp", "cs", "css", "csv", "env", "go", "graphql", "h", "htm", "html", "ico",
        "ini", "java", "js", "json", "jsx", "kt", "less", "lock", "md", "mdx", "mjs", "php", "prisma", "ps1", "py",
        "rb", "rs", "sass", "scss", "sh", "sql", "svelte", "svg", "swift", "toml", "ts", "tsx", "txt", "vue",
        "webmanifest", "xml", "yaml", "yml",
    }
)  # fmt: skip
_BARE_NAMES = frozenset({"dockerfile", "makefile", "procfile", "license", ".gitignore", ".dockerignore", ".env"})
# Names of things that look like files.
_PRODUCTS = frozenset(
    {
        "vue.js", "node.js", "next.js", "nuxt.js", "react.js", "express.js", "three.js", "chart.js", "d3.js",
        "alpine.js", "socket.js", "p5.js", "moment.js", "solid.js",
    }
)  # fmt: skip
# Fences in these hold commands, output or patches: never a file whose path only stands near them.
_NO_FILE = frozenset(
    {"bash", "sh", "shell", "zsh", "console", "terminal", "diff", "patch", "output", "tree", "powershell", "cmd"}
)
_SHELL_FILES = (".sh", ".bash", ".zsh", ".ps1", ".bat", ".cmd", ".diff", ".patch")
PATH_CHARS_MAX = 300

_DECORATION = re.compile(r"\s*(?:#{1,6}\s+|[-*+]\s+(?!\*)|>\s+)?(?:\(?\d{1,3}[.)]\s+)?")
_LABEL = re.compile(
    r"(?:(?:new|updated|modified|create|add|update|edit|modify|in)\s+)?"
    r"(?:(?:the\s+)?(?:file\s?name|file\s?path|file|path)\s*:?\s*)?",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"\s*\((?:new|updated|modified|changed|unchanged|new file|full|complete)[^()]{0,40}\)$", re.IGNORECASE
)
_COMMENT = re.compile(
    r"\s*(?://|/\*+|<!--|\{/\*|#|--|;)\s*(?:(?:file\s?name|file\s?path|file|path)\s*:\s*)?([^\s<>\"'`|*]+)\s*"
    r"(?:\*+/\}?|-->)?\s*$",
    re.IGNORECASE,
)
_FENCE = re.compile(r"([ \t]{0,12})(`{3,}|~{3,})[ \t]*([^`]*)$")
_ATTRIBUTE = re.compile(
    r"\{?\b(?:path|file|filepath|file_path|filename|file_name|name|title)\s*[=:]\s*(?:\"([^\"]+)\"|'([^']+)'|([^\s\"'{}]+))",
    re.IGNORECASE,
)
_SEARCH = re.compile(r" {0,3}<{5,9} ?(?:SEARCH|ORIGINAL|HEAD)\s*>?\s*$", re.IGNORECASE)
_DIVIDER = re.compile(r" {0,3}={5,9}\s*$")
_REPLACE = re.compile(r" {0,3}>{5,9} ?(?:REPLACE|UPDATED|END)?\s*$", re.IGNORECASE)


def is_path(text: str) -> bool:
    """Whether a word is the path of a file by its looks: an ending that is known, or a name that files have."""
    if not text or len(text) > PATH_CHARS_MAX or any(mark in text for mark in ' \t"<>|*?') or "://" in text:
        return False
    name = re.split(r"[/\\]", text)[-1].lower()
    if name in _BARE_NAMES:
        return True
    stem, _, ending = name.rpartition(".")
    is_known = ending in _EXTENSIONS and (bool(stem) or "/" in text or name.startswith(".env"))
    return is_known and not (name in _PRODUCTS and name == text.lower())


def plain(path: str) -> str:
    """The path without a `./` before it, which says nothing."""
    return path.removeprefix("./")


def path_in_line(line: str) -> str:
    """The path that a line of its own or a heading names, or nothing where the line says more than that."""
    if len(line) > 2 * PATH_CHARS_MAX:
        return ""
    start = _DECORATION.match(line)
    rest = line[start.end() if start else 0 :].strip()
    rest = rest.rstrip(":").strip("*").rstrip(":").strip()
    rest = _REMARK.sub("", rest).strip("*").strip()
    label = _LABEL.match(rest)
    word = rest[label.end() if label else 0 :].lstrip("* ").strip()
    word = word.rstrip(":").strip("`\"'*").rstrip(":").strip()
    return plain(word) if is_path(word) else ""


def path_in_comment(line: str) -> str:
    """The path that is all of a comment, or nothing."""
    if len(line) > 2 * PATH_CHARS_MAX:
        return ""
    found = _COMMENT.match(line)
    return plain(found[1]) if found and is_path(found[1]) else ""


def marker(line: str) -> Literal["search", "divider", "replace"] | None:
    """Which marker of a search/replace block the line is."""
    if _SEARCH.match(line):
        return "search"
    if _DIVIDER.match(line):
        return "divider"
    return "replace" if _REPLACE.match(line) else None


class Fence(NamedTuple):
    """The line that opens a fenced block: `indent` and `length` in characters."""

    mark: str
    length: int
    indent: int
    info: str

    @property
    def language(self) -> str:
        """The first word of what stands behind the marks, in lower case."""
        return re.split(r"[\s:{,]", self.info, maxsplit=1)[0].lower()

    @property
    def path(self) -> str:
        """The path behind the marks, as an attribute, a word of its own or `tsx:src/App.tsx`; or nothing."""
        if found := _ATTRIBUTE.search(self.info):
            return plain(next(group for group in found.groups() if group))
        words = self.info.split()[:3]
        words = [*(word.partition(":")[2] for word in words), *words]
        # A language may be called as its file is: dockerfile.
        paths = [word for word in words if is_path(word) and word.lower() not in _BARE_NAMES]
        return plain(next(iter(paths), ""))

    def is_file_of(self, path: str) -> bool:
        """Whether a path near this fence may be that of the block, and not only of what a command is about."""
        return self.language not in _NO_FILE or path.lower().endswith(_SHELL_FILES)

    @property
    def is_program(self) -> bool:
        """Whether a block without any path may be a file."""
        return self.language not in _NO_FILE | {"text", "txt", "plaintext", "markdown", "md"}

    def is_closed_by(self, line: str) -> bool:
        """Whether this line ends the block: the same mark at least as long, no further to the right, nothing behind."""
        other = fence_in_line(line)
        return other is not None and not other.info and self._is_like(other)

    def is_nested_by(self, line: str) -> bool:
        """Whether this line opens a block within the block whose end could be taken for its own."""
        other = fence_in_line(line)
        return other is not None and bool(other.info) and self._is_like(other)

    def _is_like(self, other: "Fence") -> bool:
        return other.mark == self.mark and other.length >= self.length and other.indent <= self.indent

    def outdented(self, line: str) -> str:
        """A line of the block without the indentation that the block has."""
        spaces = len(line) - len(line.lstrip(" \t"))
        return line[min(self.indent, spaces) :]


def fence_in_line(line: str) -> Fence | None:
    """The fence that a line is, opening or closing."""
    found = _FENCE.match(line)
    return Fence(found[2][0], len(found[2]), len(found[1]), found[3].strip()) if found else None
