"""Keys that were published and are refused for ever: the SHA-256 of the whole text of each, in hex.

A key enters here as `printf %s "$KEY" | sha256sum`, never as itself.
"""

DENIED_DIGESTS: frozenset[str] = frozenset()
