"""From one dialect to another."""

from aiservice.sqlassist.dialect.translation import Untranslatable, parses, translate

__all__ = ["Untranslatable", "parses", "translate"]
