"""What a reader of a stream is told, line by line. The chunks of a file, joined, are its text."""

import msgspec

from aiservice.nexus.protocol.operations import AddDependency, Delete, Edit, Rename, Write


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something was read; events come in the order of the reply and are the same however it was cut."""


class FileOpened(Event, frozen=True):
    """A whole file begins."""

    path: str


class FileText(Event, frozen=True):
    """The next text of the file that was opened last."""

    path: str
    text: str


class FileClosed(Event, frozen=True):
    """The file that was opened last ends, or is cut off there."""

    operation: Write


class OperationRead(Event, frozen=True):
    """An operation other than a whole file was read to its end, or cut off."""

    operation: Edit | Rename | Delete | AddDependency


class MessageText(Event, frozen=True):
    """The next text for the user."""

    text: str
