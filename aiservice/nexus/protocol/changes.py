"""Carries operations out on a project's files, each wholly or not at all."""

from collections.abc import Iterable, Mapping

import msgspec

from aiservice.nexus.protocol.edits import edited
from aiservice.nexus.protocol.elision import elisions
from aiservice.nexus.protocol.operations import AddDependency, Delete, Edit, Fault, Operation, Rename, Write
from aiservice.nexus.protocol.paths import Tree, path_fault, text_fault


class Changes(msgspec.Struct, frozen=True):
    """All files after the operations, which of them differ or are new, which are gone, what was refused.

    `packages` are those that were asked for, each once.
    """

    files: Mapping[str, str]
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def apply(files: Mapping[str, str], operations: Iterable[Operation]) -> Changes:
    """Applies the operations in their order; one that is refused changes nothing and the others are still applied.

    Refused: a path that `path_fault` or the project's other files are against, a 201st file, a file over 1 MiB, a file
    that is cut off, empty or has code left out, an edit without its one place. What changes nothing is passed over.
    """
    project = _Project(files)
    for operation in operations:
        reason = project.take(operation)
        if reason:
            project.faults.append(Fault(operation.path, reason))
    return project.changes()


class _Project:
    def __init__(self, files: Mapping[str, str]) -> None:
        self._before = files
        self._files = dict(files)
        self._tree = Tree(files)
        self._packages: dict[str, None] = {}
        self.faults: list[Fault] = []

    def take(self, operation: Operation) -> str | None:
        """Why the operation was refused, or None when it was carried out."""
        match operation:
            case Write():
                return path_fault(operation.path) or self._write(operation)
            case Edit():
                return path_fault(operation.path) or self._edit(operation)
            case Rename():
                return path_fault(operation.path) or path_fault(operation.to) or self._rename(operation)
            case Delete():
                return path_fault(operation.path) or self._delete(operation)
            case AddDependency():
                self._packages[operation.package] = None
        return None

    def changes(self) -> Changes:
        changed = tuple(path for path, text in self._files.items() if self._before.get(path) != text)
        removed = tuple(path for path in self._before if path not in self._files)
        return Changes(self._files, changed, removed, tuple(self._packages), tuple(self.faults))

    def _write(self, write: Write) -> str | None:
        before = self._files.get(write.path, "")
        if write.is_truncated:
            return "The file was cut off before its end; go on from its last lines."
        if not write.text.strip():
            return "The file is empty; delete it if it is to go."
        numbers = elisions(write.path, write.text, before=before)
        if numbers:
            line = write.text.split("\n")[numbers[0] - 1].strip()
            return f"Line {numbers[0]} ({line!r}) stands for code that was left out; write the whole file."
        return self._put(write.path, write.text)

    def _edit(self, edit: Edit) -> str | None:
        before = self._files.get(edit.path)
        if before is None:
            is_new = edit.is_closed and not edit.search.strip()
            write = Write(path=edit.path, text=edit.replace + "\n")
            return self._write(write) if is_new else f"There is no file {edit.path!r}.{self._others()}"
        after = edited(before, edit)
        if after.text is None:
            return after.reason
        if not after.text.strip():
            return "Nothing would be left of the file; delete it if it is to go."
        return self._put(edit.path, after.text)

    def _rename(self, rename: Rename) -> str | None:
        if rename.path not in self._files:
            return f"There is no file {rename.path!r}.{self._others()}"
        if rename.to in self._files:
            return None if rename.to == rename.path else f"There is a file {rename.to!r} already."
        text = self._files.pop(rename.path)
        self._tree.remove(rename.path)
        if reason := self._tree.fault(rename.to):
            self._files[rename.path] = text
            self._tree.add(rename.path)
            return reason
        return self._put(rename.to, text)

    def _delete(self, delete: Delete) -> str | None:
        if delete.path not in self._files:
            return f"There is no file {delete.path!r}.{self._others()}"
        del self._files[delete.path]
        self._tree.remove(delete.path)
        return None

    def _put(self, path: str, text: str) -> str | None:
        reason = text_fault(text) or self._tree.fault(path)
        if reason is None:
            self._files[path] = text
            self._tree.add(path)
        return reason

    def _others(self) -> str:
        names = ", ".join(list(self._files)[:20])
        return f" There are: {names}." if names else ""
