"""What is open while a reply is read: a block before its first line, a file, a search/replace block, a quotation."""

from aiservice.nexus.protocol.body import Body, extension
from aiservice.nexus.protocol.marks import Fence, fence_in_line, marker
from aiservice.nexus.protocol.operations import Edit, Write
from aiservice.nexus.protocol.tags import EndTag, Tag, end_tag

_MARKDOWN = frozenset({"md", "mdx", "markdown"})


class Opening:
    """A fence or tag whose first line is still to come. `raw` are its lines so far, for the message it may be."""

    def __init__(self, path: str, raw: str, *, fence: Fence | None = None, tag: Tag | None = None) -> None:
        self.path = path
        self.raw = [raw]
        self.fence = fence
        self.tag = tag
        self.bare_path = ""
        self.has_path_line = False

    def is_wrapped_by(self, line: str) -> bool:
        """Whether the first line in a tag is a fence around the file, and not the beginning of a Markdown file."""
        fence = fence_in_line(line)
        if self.tag is None or self.fence is not None or fence is None:
            return False
        return extension(self.path) not in _MARKDOWN or fence.language in _MARKDOWN


class OpenFile:
    """A whole file, between its first line and its end."""

    def __init__(self, opening: Opening) -> None:
        self.path = opening.path
        self.fence = opening.fence
        self.tag = opening.tag
        self.is_fence_over = False
        self._depth = 0
        self._tag_depth = 0
        self._body = Body(opening.path)

    def end_tag(self, line: str, at: int) -> EndTag | None:
        """The end of the tag from `at` on; keeps count of the elements of the same name within."""
        if self.tag is None:
            return None
        end = end_tag(line, at, self.tag.name, depth=self._tag_depth)
        self._tag_depth = end.depth
        return end if end.start >= 0 else None

    def is_ended_by(self, line: str) -> bool:
        """Whether the line is the end of the fence; keeps count of the fences within."""
        if self.fence is None or self.is_fence_over:
            return False
        if self.fence.is_nested_by(line):
            self._depth += 1
        elif self.fence.is_closed_by(line):
            self._depth -= 1
        return self._depth < 0

    def add(self, line: str, ending: str) -> str:
        """What can be shown after this line."""
        return self._body.add((self.fence.outdented(line) if self.fence else line) + ending)

    def end(self) -> str:
        """The last that can be shown."""
        return self._body.end()

    def operation(self, *, is_closed: bool) -> Write:
        """The file, once `end` was called."""
        return Write(path=self.path, text=self._body.text, is_closed=is_closed)

    def is_cut_mark(self, line: str) -> bool:
        """Whether the last line of a reply is the beginning of this file's end mark."""
        ends = [f"</{self.tag.name}>"] if self.tag else []
        if self.fence and not self.is_fence_over:
            ends.append(self.fence.mark * self.fence.length)
        word = line.strip()
        return bool(word) and any(end.startswith(word) and end != word for end in ends)


class OpenEdit:
    """A search/replace block, between its first marker and its last."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._search: list[str] = []
        self._replace: list[str] = []
        self._dividers = 0

    def add(self, line: str) -> bool:
        """Whether the line was the last marker."""
        mark = marker(line)
        if mark == "replace":
            return True
        if mark == "divider":
            self._dividers += 1
        if mark != "divider" or self._dividers > 1:
            (self._replace if self._dividers else self._search).append(line)
        return False

    def operation(self, *, is_ended: bool) -> Edit:
        """The edit; with no divider, or with two, it is not closed: nobody can tell what takes the place of what."""
        is_closed = is_ended and self._dividers == 1
        search, replace = "\n".join(self._search), "\n".join(self._replace)
        return Edit(path=self.path, search=search, replace=replace, is_closed=is_closed)
