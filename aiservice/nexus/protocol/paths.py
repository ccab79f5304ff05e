"""Which paths a project may have: relative, inside it, the same file on every system."""

import unicodedata
from collections.abc import Iterable

FILES_MAX = 200
FILE_BYTES_MAX = 1_048_576
_PATH_BYTES_MAX = 240
_NAME_BYTES_MAX = 120
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in (*"0123456789", "¹", "²", "³")}
)
_OWNED = frozenset({".git", "git~1", "node_modules"})
_MARKS = frozenset('<>:"|?*')
# Controls, invisible marks, surrogates, private and unassigned characters.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def path_fault(path: str) -> str | None:
    """Why a path is refused, as a sentence, or None where it may be used as it is. Looks at no disk."""
    if not path:
        return "The file has no path; give one, as src/App.tsx."
    shown = repr(path[:80])
    if "\0" in path:
        return f"The path {shown} has a NUL character in it."
    if "\\" in path:
        return f"The path {shown} has a backslash; separate folders with /."
    if path.startswith(("/", "~")) or path[1:2] == ":":
        return f"The path {shown} is absolute; give it from the project's root, as src/App.tsx."
    if len(path.encode("utf-8", "replace")) > _PATH_BYTES_MAX:
        return f"The path {shown} is longer than {_PATH_BYTES_MAX} bytes."
    for name in path.split("/"):
        if reason := _name_fault(name):
            return f"The path {shown} {reason}."
    return None


def _name_fault(name: str) -> str | None:
    if name == "..":
        return "leaves its folder with '..'"
    if name in {"", "."}:
        return "has an empty or '.' part"
    if any(unicodedata.category(mark) in _UNSEEN for mark in name) or _MARKS & set(name):
        return "has a character that file names may not have"
    if name != unicodedata.normalize("NFC", name):
        return "is not in Unicode's composed form (NFC)"
    if name.startswith(" ") or name.endswith((" ", ".")):
        return "has a name that begins with a space or ends in a space or dot"
    if name.partition(".")[0].rstrip().lower() in _RESERVED:
        return f"has the name {name!r}, which some systems reserve"
    if name.lower() in _OWNED:
        return f"has the name {name!r}, which belongs to tools"
    return f"has a name over {_NAME_BYTES_MAX} bytes" if len(name.encode()) > _NAME_BYTES_MAX else None


def text_fault(text: str) -> str | None:
    """Why a file's text is refused: over 1 MiB as UTF-8, or no text at all."""
    size = len(text.encode("utf-8", "replace"))
    if size > FILE_BYTES_MAX:
        return f"The file has {size} bytes; at most {FILE_BYTES_MAX} are taken. Split it."
    if "\0" in text:
        return "The file has a NUL character in it: it is no text."
    return None


class Tree:
    """The paths of a project as a system sees them that takes upper and lower case for the same."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, dict[str, int]] = {}
        for path in paths:
            self.add(path)

    def fault(self, path: str) -> str | None:
        """Why a new file of this path cannot stand beside those that there are, or None. One that is there may."""
        key = _folded(path)
        there = self._files.get(key)
        if there == path:
            return None
        if there is not None:
            return f"The path {path!r} differs from {there!r} only in upper and lower case; use that one."
        if key in self._folders:
            return f"The path {path!r} is a folder of the project."
        for folder in _folders(path):
            if _folded(folder) in self._files:
                return f"The path {path!r} goes through {self._files[_folded(folder)]!r}, which is a file."
            spellings = self._folders.get(_folded(folder), {})
            if spellings and folder not in spellings:
                return f"The folder {folder!r} is spelled {next(iter(spellings))!r} in the project; use that."
        if len(self._files) >= FILES_MAX:
            return f"The project has {FILES_MAX} files already, and may have no more."
        return None

    def add(self, path: str) -> None:
        """Takes a path in that `fault` had nothing against."""
        if self._files.get(_folded(path)) == path:
            return
        self._files[_folded(path)] = path
        for folder in _folders(path):
            spellings = self._folders.setdefault(_folded(folder), {})
            spellings[folder] = spellings.get(folder, 0) + 1

    def remove(self, path: str) -> None:
        """Forgets a path, and the folders that are empty without it."""
        del self._files[_folded(path)]
        for folder in _folders(path):
            spellings = self._folders[_folded(folder)]
            spellings[folder] -= 1
            if not spellings[folder]:
                del spellings[folder]
            if not spellings:
                del self._folders[_folded(folder)]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", path).casefold()


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
