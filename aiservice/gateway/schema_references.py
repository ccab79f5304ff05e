"""How much a schema's references unfold to: a few lines that refer to each other twice make a billion steps."""

from typing import Any
from urllib.parse import unquote

# Validating takes up to 20 microseconds a reference, and nothing else happens meanwhile.
REFERENCES_MAX = 2_000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")


def bound(schema: Any) -> None:
    """Raises `ValueError` for more than `REFERENCES_MAX` references unfolded, or one whose target is not inside.

    A schema that refers to itself counts once around. One that is inside another may have no `$id`, which would change
    what references mean.
    """
    anchors: dict[str, Any] = {}
    _collect(schema, anchors)
    try:
        _Unfolding(schema, anchors).count(schema)
    except RecursionError:
        raise ValueError("its references are nested too deeply") from None


class _Unfolding:
    def __init__(self, root: Any, anchors: dict[str, Any]) -> None:
        self._root = root
        self._anchors = anchors
        self._counts: dict[int, int] = {}

    def count(self, node: Any) -> int:
        """The references under a node, those of what they refer to among them."""
        if not isinstance(node, dict | list):
            return 0
        known = self._counts.get(id(node))
        if known is not None:
            return known
        self._counts[id(node)] = 0  # Met again below itself it counts no more.
        total = sum([self.count(child) for child in (node.values() if isinstance(node, dict) else node)])
        if isinstance(node, dict):
            for name in _REFERENCES:
                if isinstance(reference := node.get(name), str):
                    total += 1 + self.count(self._target(reference))
        if total > REFERENCES_MAX:
            raise ValueError(f"its references unfold to more than {REFERENCES_MAX}")
        self._counts[id(node)] = total
        return total

    def _target(self, reference: str) -> Any:
        base, _, fragment = reference.partition("#")
        pointer = unquote(fragment)
        if not base and pointer in self._anchors:
            return self._anchors[pointer]
        if base or (pointer and not pointer.startswith("/")):
            raise ValueError(f"it refers to {reference[:100]}, and nothing is fetched; put it under $defs")
        node = self._root
        for part in pointer.split("/")[1:]:
            node = _child(node, part.replace("~1", "/").replace("~0", "~"))
        return node


def _child(node: Any, name: str) -> Any:
    """None where there is none: the validator says so."""
    if isinstance(node, dict):
        return node.get(name)
    return node[int(name)] if isinstance(node, list) and name.isdecimal() and int(name) < len(node) else None


def _collect(root: Any, anchors: dict[str, Any]) -> None:
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            if node is not root and isinstance(node.get("$id"), str):
                raise ValueError("a schema inside it has an $id; refer by #/$defs/... instead")
            anchors.update({node[name]: node for name in _ANCHORS if isinstance(node.get(name), str)})
            todo += node.values()
