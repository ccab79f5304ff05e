"""From a model's reply to changed files.

`ReplyParser` turns chunks of a reply into events and operations, `apply` carries operations out on a project's files
and says why one was refused, `join` puts a continuation behind a file that was cut off. All three take time in
proportion to what they are given, and none raises for anything that a model may write.
"""

from aiservice.nexus.protocol.changes import Changes, apply
from aiservice.nexus.protocol.continuation import join, tail
from aiservice.nexus.protocol.edits import Edited, edited
from aiservice.nexus.protocol.elision import elisions
from aiservice.nexus.protocol.events import Event, FileClosed, FileOpened, FileText, MessageText, OperationRead
from aiservice.nexus.protocol.operations import (
    AddDependency,
    Delete,
    Edit,
    Fault,
    Message,
    Operation,
    Rename,
    Write,
)
from aiservice.nexus.protocol.paths import FILE_BYTES_MAX, FILES_MAX, path_fault
from aiservice.nexus.protocol.reply import ReplyParser

__all__ = [
    "FILES_MAX",
    "FILE_BYTES_MAX",
    "AddDependency",
    "Changes",
    "Delete",
    "Edit",
    "Edited",
    "Event",
    "Fault",
    "FileClosed",
    "FileOpened",
    "FileText",
    "Message",
    "MessageText",
    "Operation",
    "OperationRead",
    "Rename",
    "ReplyParser",
    "Write",
    "apply",
    "edited",
    "elisions",
    "join",
    "path_fault",
    "tail",
]
