"""The text of one file while it is read."""

import re
from collections.abc import Mapping

MARKUP = frozenset({"html", "htm", "vue", "svelte", "jsx", "tsx", "xml", "svg"})
_ESCAPED = re.compile(r"&(lt|gt|amp|quot|apos|#39|#x27);")
_PLAIN: Mapping[str, str] = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'", "#39": "'", "#x27": "'"}


def extension(path: str) -> str:
    """The file's ending in lower case without its dot, or nothing."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


class Body:
    """Takes lines and gives back what can be shown of them.

    A file is escaped as a whole where it is markup and has `&lt;` but no `<` at all. From its first entity to its first
    `<` nothing of such a file is given out, so that what was given out never has to be taken back.
    """

    def __init__(self, path: str) -> None:
        self._is_raw = extension(path) not in MARKUP
        self._held: list[str] = []
        self._has_entities = False
        self._given: list[str] = []

    def add(self, text: str) -> str:
        """What is ready after this text: all of it, or nothing yet."""
        if not self._is_raw:
            self._is_raw = "<" in text
            self._has_entities = self._has_entities or "&" in text
        self._held.append(text)
        return self._release() if self._is_raw or not self._has_entities else ""

    def end(self) -> str:
        """The rest, with its entities read where the whole file is escaped."""
        held = "".join(self._held)
        if not self._is_raw and "&lt;" in held:
            self._held = [_ESCAPED.sub(lambda found: _PLAIN[found[1]], held)]
        return self._release()

    @property
    def text(self) -> str:
        """All that was given out."""
        return "".join(self._given)

    def _release(self) -> str:
        ready = "".join(self._held)
        self._held.clear()
        self._given.append(ready)
        return ready
