"""Says what a statement does: facts from its syntax tree, a sentence for each clause and join, and its traps.

Nothing is said that the tree does not say; nothing is run but EXPLAIN on a registered database. A model may put the
text into other words, and is not listened to where one of the facts got lost or a name came in.
"""

from aiservice.sqlassist.explain.facts import facts_of
from aiservice.sqlassist.explain.rewording import keeps_facts
from aiservice.sqlassist.explain.service import brief, explain, explained

__all__ = ["brief", "explain", "explained", "facts_of", "keeps_facts"]
