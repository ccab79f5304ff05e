"""The one form of what a model wants done, whatever dialect it wrote in."""

import msgspec


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One step, in the order of the reply.

    `path` is what the model wrote, less a `./`, and not yet checked; it is empty for a message.
    `is_closed` is False for what the reply began and did not end, or whose end cannot be told: it is never applied.
    """

    path: str = ""
    is_closed: bool = True


class Write(Operation, frozen=True, kw_only=True):
    """A whole file. `text` has LF line ends, and a last one unless the file was cut off within a line."""

    text: str

    @property
    def is_truncated(self) -> bool:
        """Whether the end of the file is missing; `tail` says what to go on from."""
        return not self.is_closed


class Edit(Operation, frozen=True, kw_only=True):
    """Lines of a file and what takes their place, each without a last line end."""

    search: str
    replace: str


class Rename(Operation, frozen=True, kw_only=True):
    """A file gets the path `to`."""

    to: str


class Delete(Operation, frozen=True, kw_only=True):
    """A file goes."""


class AddDependency(Operation, frozen=True, kw_only=True):
    """A package is wanted, by its name and maybe its version, as `react@19`; `path` is the file that names packages."""

    package: str
    path: str = "package.json"


class Message(Operation, frozen=True, kw_only=True):
    """What the model says to the user between its other steps, in Markdown."""

    text: str


class Fault(msgspec.Struct, frozen=True):
    """Why an operation on `path` was refused: a sentence or more, written to be shown to the model."""

    path: str
    reason: str
