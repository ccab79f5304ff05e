"""A Lua script that Redis runs as one step."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Script:
    """Its text, and the SHA-1 of it by which Redis knows a script that it has seen before."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)

    @classmethod
    def of(cls, path: Path) -> Self:
        """The script in a file."""
        return cls(path.read_text(encoding="utf-8"))
