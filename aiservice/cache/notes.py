"""What a worker has counted of entries in Redis and not yet written down: look-ups, entries made, their hits."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiservice.cache.frame import Frame
from aiservice.cache.model import CacheKey, EntryFacts

# Of so many entries a worker knows the hits. Beyond it the one noted first is forgotten.
PAGES_MAX = 10_000


@dataclass(slots=True)
class _Page:
    """One entry: its hits that this worker knows of, and how many of them are not written down."""

    key: CacheKey
    bytes: int
    created_at_us: int
    expires_at_us: int
    hits_known: int = 0
    hits_new: int = 0

    def facts(self) -> EntryFacts:
        return EntryFacts(
            self.key.digest,
            self.key.tenant_id,
            self.key.model,
            self.bytes,
            self.created_at_us,
            self.expires_at_us,
            self.hits_new,
        )


class Notes:
    """Counts go up at once; `take` hands out what is to be written, and `give_back` returns what could not be."""

    __slots__ = ("_dirty", "_joined", "_pages", "hits", "misses")

    def __init__(self) -> None:
        """`misses` sinks below 0 where one became a hit."""
        self.hits = 0
        self.misses = 0
        self._pages: dict[str, _Page] = {}
        self._dirty: dict[str, _Page] = {}
        self._joined: dict[CacheKey, int] = {}

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._dirty or self._joined or self.hits or self.misses)

    def kept(self, key: CacheKey, size: int, *, created_us: int, expires_us: int) -> None:
        """A new entry, in place of the one there may have been."""
        self._joined.pop(key, None)
        self._open(key, _Page(key, size, created_us, expires_us))

    def hit(self, key: CacheKey, frame: Frame) -> int:
        """Counts a hit of an entry; says how many of it this worker knows of."""
        self.hits += 1
        page = self._page(key, frame)
        page.hits_known += 1
        page.hits_new += 1
        return page.hits_known

    def joined(self, key: CacheKey, hits: int) -> None:
        """Misses that became hits of a flight. Whether they are hits of an entry is asked later, for all together."""
        self.hits += hits
        self.misses -= hits
        self._joined[key] = self._joined.get(key, 0) + hits
        page = self._pages.get(key.digest)
        if page is not None:
            page.hits_known += hits

    def take_joined(self) -> dict[CacheKey, int]:
        taken, self._joined = self._joined, {}
        return taken

    def add(self, key: CacheKey, frame: Frame, hits: int) -> None:
        """Hits that joined a flight, of the entry that was found for it."""
        self._page(key, frame).hits_new += hits

    def take(self) -> list[EntryFacts]:
        """Entries that are new or have new hits, in the order of their digests; `hit_count` is the new hits."""
        dirty, self._dirty = self._dirty, {}
        facts = [dirty[digest].facts() for digest in sorted(dirty)]
        for page in dirty.values():
            page.hits_new = 0
        return facts

    def give_back(self, taken: Sequence[EntryFacts]) -> None:
        for facts in taken:
            page = self._pages.get(facts.digest)
            if page is not None and page.created_at_us == facts.created_at_us:
                page.hits_new += facts.hit_count
                self._dirty[facts.digest] = page

    def _page(self, key: CacheKey, frame: Frame) -> _Page:
        page = self._pages.get(key.digest)
        if page is None or page.created_at_us != frame.created_at_us:
            return self._open(key, _Page(key, frame.bytes, frame.created_at_us, frame.expires_at_us))
        self._dirty[key.digest] = page
        return page

    def _open(self, key: CacheKey, page: _Page) -> _Page:
        digest = key.digest
        self._pages.pop(digest, None)
        if len(self._pages) == PAGES_MAX:
            oldest = next(iter(self._pages))
            del self._pages[oldest]
            self._dirty.pop(oldest, None)
        self._pages[digest] = self._dirty[digest] = page
        return page
