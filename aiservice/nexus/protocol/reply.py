"""Reads a model's reply while it streams in."""

from aiservice.nexus.protocol.blocks import OpenEdit, OpenFile, Opening
from aiservice.nexus.protocol.events import Event, FileClosed, FileOpened, FileText, MessageText, OperationRead
from aiservice.nexus.protocol.marks import Fence, fence_in_line, marker, path_in_comment, path_in_line, plain
from aiservice.nexus.protocol.operations import AddDependency, Delete, Edit, Message, Operation, Rename, Write
from aiservice.nexus.protocol.tags import Tag, end_tag, goes_on, is_unfinished, tags_in_line

_TAG_LINES_MAX = 8
_BOM = "\ufeff"


class ReplyParser:
    """Takes a reply in chunks and gives events; the same events and operations for every way to cut it.

    Works by whole lines and looks at each a bounded number of times, so that time and memory are in proportion to the
    reply; `examined` counts the characters that were looked at. `path_default` is the file that a first fenced block
    without a path is taken for; without it such blocks are part of the message. Nothing that a model may write raises.
    """

    def __init__(self, *, path_default: str = "") -> None:
        self.examined = 0
        self._path_default = path_default
        self._partial: list[str] = []
        self._is_first_line = True
        self._events: list[Event] = []
        self._operations: list[Operation] = []
        self._message: list[str] = []
        # What is open; at most one of the first four.
        self._opening: Opening | None = None
        self._file: OpenFile | None = None
        self._edit: OpenEdit | None = None
        self._quoted: Fence | None = None
        # A fence around tags or edits, the path that edits go to, a line that names a path, and half a tag.
        self._wrapper: Fence | None = None
        self._edit_path = ""
        self._named = ""
        self._named_lines: list[str] = []
        self._half_tag: list[str] = []

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All that was read to its end so far; after `close`, all of the reply."""
        return tuple(self._operations)

    @property
    def truncated(self) -> Write | None:
        """The file that the reply ended in the middle of, once it is closed."""
        files = [operation for operation in self._operations if isinstance(operation, Write)]
        return files[-1] if files and files[-1].is_truncated else None

    def feed(self, text: str) -> tuple[Event, ...]:
        """What the next chunk brought to an end; nothing before a line is whole."""
        self.examined += len(text)
        first, *rest = text.split("\n")
        self._partial.append(first)
        for following in rest:
            self._line("".join(self._partial))
            self._partial = [following]
        return self._taken()

    def close(self) -> tuple[Event, ...]:
        """What the end of the reply brings: the last line, and what was left open marked as not closed."""
        last = "".join(self._partial)
        self._partial = []
        if last and self._is_cut_mark(last):
            last = ""
        if last:
            self._line(last, ending="")
        self._flush_half_tag()
        if self._opening is not None:
            self._begin_cut_off(self._opening)
        if self._file is not None:
            self._end_file(self._file, is_closed=self._file.is_fence_over)
        if self._edit is not None:
            self._end_edit(self._edit, is_ended=False)
        self._flush_named()
        self._end_message()
        return self._taken()

    def _taken(self) -> tuple[Event, ...]:
        events = tuple(self._events)
        self._events.clear()
        return events

    def _is_cut_mark(self, last: str) -> bool:
        return self._file is not None and self._file.is_cut_mark(last)

    def _line(self, line: str, ending: str = "\n") -> None:
        line = line.removesuffix("\r")
        if self._is_first_line:
            line = line.removeprefix(_BOM)
            self._is_first_line = False
        if self._half_tag:
            line = self._joined(line)
        at: int | None = 0
        while at is not None:
            before = at
            at = self._step(line, at, ending)
            self.examined += (len(line) if at is None else at) - before

    def _step(self, line: str, at: int, ending: str) -> int | None:
        """Reads a line from `at` on; the place to go on from, or None at its end."""
        if self._edit is not None:
            self._in_edit(self._edit, line)
            return None
        if self._file is not None:
            return self._in_file(self._file, line, at, ending=ending)
        if self._opening is not None:
            return self._in_opening(self._opening, line, at, ending=ending)
        if self._quoted is not None:
            self._in_quotation(self._quoted, line)
            return None
        return self._in_prose(line, at)

    # Prose

    def _in_prose(self, line: str, at: int) -> int | None:
        if at == 0 and self._is_block_mark(line):
            return None
        for tag in tags_in_line(line, at):
            self._say(line[at : tag.start], "")
            at = tag.end
            if self._tag(tag, line):
                return at
        rest = line[at:]
        if at and not rest.strip():
            return None
        if at == 0 and is_unfinished(line):
            self._half_tag = [line]
            return None
        path = path_in_line(rest) or path_in_comment(rest) if at == 0 else ""
        if path:
            self._flush_named()
            self._named, self._named_lines = path, [rest]
        elif self._named and not rest.strip():
            self._named_lines.append(rest)
        else:
            self._say(rest)
        return None

    def _is_block_mark(self, line: str) -> bool:
        """Whether the line is a fence or begins a search/replace block, which is then begun."""
        if self._wrapper is not None and self._wrapper.is_closed_by(line):
            self._wrapper = None
            return True
        if marker(line) == "search":
            self._begin_edit(self._take_named() or self._edit_path)
            return True
        fence = fence_in_line(line)
        if fence is None:
            return False
        path = fence.path
        if not path and self._named and fence.is_file_of(self._named):
            path = self._take_named()
        self._flush_named()
        self._opening = Opening(path, line, fence=fence)
        return True

    def _tag(self, tag: Tag, line: str) -> bool:
        """Does what a tag in prose says; whether a file begins with it."""
        if tag.is_end:
            return False
        if tag.kind == "write":
            path = tag.path or self._take_named()
            self._flush_named()
            if not tag.is_empty:
                self._opening = Opening(path, line[tag.start : tag.end], tag=tag)
            return not tag.is_empty
        self._flush_named()
        if tag.kind == "edit":
            self._edit_path = tag.path
        elif tag.kind == "rename":
            self._read(Rename(path=tag.path, to=tag.to))
        elif tag.kind == "delete":
            self._read(Delete(path=tag.path))
        else:
            for package in tag.packages:
                self._read(AddDependency(package=package))
        return False

    def _joined(self, line: str) -> str:
        """The line with the half of a tag that stands before it, where it goes on with that."""
        if len(self._half_tag) < _TAG_LINES_MAX and goes_on(line):
            self._half_tag.append(line)
            whole = " ".join(self._half_tag)
            self._half_tag = []
            return whole
        self._flush_half_tag()
        return line

    def _flush_half_tag(self) -> None:
        half, self._half_tag = self._half_tag, []
        for line in half:
            self._say(line)

    # The first line of a block

    def _in_opening(self, opening: Opening, line: str, at: int, *, ending: str) -> int | None:
        end = end_tag(line, at, opening.tag.name) if opening.tag else None
        is_ended = end is not None and end.start >= 0
        if is_ended or not line[at:].strip():
            if is_ended:
                self._begin_file(opening)
                return at
            if at == 0:
                opening.raw.append(line)
            return None
        if opening.fence is not None and opening.fence.is_closed_by(line):
            self._end_empty(opening, line)
            return None
        if at == 0 and self._is_consumed(opening, line):
            return None
        if opening.fence is not None and opening.tag is None and self._is_transparent(opening, line):
            return 0
        path = opening.path or self._default_for(opening)
        if path:
            opening.path = path
            self._begin_file(opening)
            return at
        self._quote(opening)
        return at if self._quoted is None else 0

    def _is_consumed(self, opening: Opening, line: str) -> bool:
        """Whether a line is about the block and not of it: a marker, a fence within a tag, a comment with the path."""
        if marker(line) == "search":
            self._opening = None
            self._wrapper = opening.fence
            self._begin_edit(opening.path or opening.bare_path or self._edit_path)
            return True
        if opening.is_wrapped_by(line):
            opening.fence = fence_in_line(line)
            opening.raw.append(line)
            return True
        if opening.has_path_line:
            return False
        path = path_in_comment(line)
        is_file = opening.fence is None or opening.fence.is_file_of(path)
        if path and is_file and opening.path in {"", path}:
            opening.path, opening.has_path_line = path, True
            opening.raw.append(line)
            return True
        bare = path_in_line(line) if opening.fence and not (opening.bare_path or opening.path) else ""
        if bare and bare == plain(line.strip()):
            opening.bare_path = bare
            opening.raw.append(line)
            return True
        return False

    def _is_transparent(self, opening: Opening, line: str) -> bool:
        """Whether a fence stands around tags: the block is then read as prose."""
        tag = next(tags_in_line(line, 0), None)
        if tag is None:
            if opening.path or not is_unfinished(line):
                return False
        elif line[: tag.start].strip() or tag.is_end or (opening.path and tag.path != opening.path):
            return False
        self._opening, self._wrapper = None, opening.fence
        return True

    def _default_for(self, opening: Opening) -> str:
        is_program = opening.fence is None or opening.fence.is_program
        if not is_program or opening.bare_path:
            return ""
        path, self._path_default = self._path_default, ""
        return path

    def _end_empty(self, opening: Opening, line: str) -> None:
        if opening.path:
            file = self._begin_file(opening)
            if opening.tag is None:
                self._end_file(file, is_closed=True)
            else:
                file.is_fence_over = True
            return
        self._quote(opening)
        self._say(line)
        self._quoted = None

    def _begin_cut_off(self, opening: Opening) -> None:
        if opening.path:
            self._begin_file(opening)
        else:
            self._quote(opening)

    def _quote(self, opening: Opening) -> None:
        """Takes the block for a part of the message."""
        self._opening, self._quoted = None, opening.fence
        for raw in opening.raw:
            self._say(raw)

    def _in_quotation(self, fence: Fence, line: str) -> None:
        self._say(line)
        if fence.is_closed_by(line):
            self._quoted = None

    # Files

    def _begin_file(self, opening: Opening) -> OpenFile:
        self._end_message()
        self._opening = None
        self._file = OpenFile(opening)
        self._events.append(FileOpened(self._file.path))
        return self._file

    def _in_file(self, file: OpenFile, line: str, at: int, *, ending: str) -> int | None:
        end = file.end_tag(line, at)
        if end is not None:
            rest = line[at : end.start]
            if rest.strip() and not file.is_fence_over:
                self._show(file, rest, "\n")
            self._end_file(file, is_closed=True)
            return end.end if end.end < len(line) else None
        if file.tag is not None and at == 0 and self._is_next_file(line):
            self._end_file(file, is_closed=file.is_fence_over)
            return 0
        if at == 0 and file.is_ended_by(line):
            if file.tag is None:
                self._end_file(file, is_closed=True)
            file.is_fence_over = True
        elif file.is_fence_over:
            self._say(line)
        elif at == 0 or line[at:].strip():
            self._show(file, line[at:], ending)
        return None

    def _is_next_file(self, line: str) -> bool:
        tag = next(tags_in_line(line[:2_000], 0), None)
        return tag is not None and tag.start == 0 and tag.kind == "write" and bool(tag.path) and not tag.is_end

    def _show(self, file: OpenFile, line: str, ending: str) -> None:
        if text := file.add(line, ending):
            self._events.append(FileText(file.path, text))

    def _end_file(self, file: OpenFile, *, is_closed: bool) -> None:
        if text := file.end():
            self._events.append(FileText(file.path, text))
        operation = file.operation(is_closed=is_closed)
        self._file = None
        self._operations.append(operation)
        self._events.append(FileClosed(operation))

    # Edits

    def _begin_edit(self, path: str) -> None:
        self._end_message()
        self._edit_path = path
        self._edit = OpenEdit(path)

    def _in_edit(self, edit: OpenEdit, line: str) -> None:
        if marker(line) == "search":
            self._end_edit(edit, is_ended=False)
            self._begin_edit(edit.path)
        elif edit.add(line):
            self._end_edit(edit, is_ended=True)

    def _end_edit(self, edit: OpenEdit, *, is_ended: bool) -> None:
        self._edit = None
        self._read(edit.operation(is_ended=is_ended))

    # What is read

    def _read(self, operation: Edit | Rename | Delete | AddDependency) -> None:
        self._end_message()
        self._operations.append(operation)
        self._events.append(OperationRead(operation))

    def _take_named(self) -> str:
        path, self._named = self._named, ""
        self._named_lines.clear()
        return path

    def _flush_named(self) -> None:
        lines = list(self._named_lines)
        self._take_named()
        for line in lines:
            self._say(line)

    def _say(self, text: str, ending: str = "\n") -> None:
        if not text and not ending:
            return
        if self._named_lines:
            self._flush_named()
        self._message.append(text + ending)
        self._events.append(MessageText(text + ending))

    def _end_message(self) -> None:
        text = "".join(self._message).strip()
        self._message.clear()
        if text:
            self._operations.append(Message(text=text))
