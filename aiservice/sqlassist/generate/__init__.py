"""Writes a statement for a question: linking, a semantic parser, and a choice among what was run.

A question is read into marks, marks into plans, plans into statements of the asked dialect. A reading is answered
only when every word of the question is accounted for; else it is refused with the words that nothing in the schema
is. A capable model's proposals are held to the same: they only read, their names are the schema's, they run; those
that agree count. What is called verified is a reading that nothing was doubtful about.
"""

from aiservice.sqlassist.generate.service import brief, generate

__all__ = ["brief", "generate"]
