"""Why a question is not answered."""

from aiservice.sqlassist.generate.readings import WORDS_MAX, Readings
from aiservice.sqlassist.model import Refusal

MISSING_MAX = 8


def no_schema() -> Refusal:
    """There is nothing to ask."""
    return Refusal("no_schema", "There is no schema to write a statement for; send `schema` or name a `database`.")


def refusal(found: Readings) -> Refusal:
    """By what was not understood: words that nothing in the schema is, else words that could not be placed."""
    if not found.readings and found.is_cut:
        return Refusal("ambiguous", f"The question is long; ask in fewer than {WORDS_MAX} words.")
    unknown = tuple(mark.text for mark in found.marks if mark.kind == "u")
    if unknown:
        return Refusal("unanswerable", f"Nothing in the schema is meant by: {_listed(unknown)}.", unknown[:MISSING_MAX])
    if not found.readings:
        return Refusal(
            "unanswerable", "The question names no table, column or value that belong together in the schema."
        )
    left = min((one.parsed.left for one in found.readings), key=len)
    if left:
        return Refusal("ambiguous", f"It is not clear what is asked with: {_listed(left)}.", left[:MISSING_MAX])
    return Refusal("ambiguous", "The question can be read in several ways, none of them sure; name the columns.")


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"“{word}”" for word in dict.fromkeys(words[:MISSING_MAX]))
