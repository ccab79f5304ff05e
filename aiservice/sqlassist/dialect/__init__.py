"""From one dialect to another, and which one a text is in."""

from aiservice.sqlassist.dialect.detection import Likely, detect, foreign_to
from aiservice.sqlassist.dialect.translation import Untranslatable, parses, translate

__all__ = ["Likely", "Untranslatable", "detect", "foreign_to", "parses", "translate"]
