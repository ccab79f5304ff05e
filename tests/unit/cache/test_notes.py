"""What a worker has noted and not yet written: nothing twice, nothing of an entry under another's name."""

import pytest

from aiservice.cache import CacheKey
from aiservice.cache.frame import Frame
from aiservice.cache.model import EntryFacts
from aiservice.cache.notes import PAGES_MAX, Notes
from tests.unit.cache.workers import ANSWER, KEY, key

FRAME = Frame(ANSWER, 1_000, 9_000, 600)
NEWER = Frame(ANSWER, 2_000, 9_000, 600)


@pytest.fixture
def notes() -> Notes:
    return Notes()


def facts_of(key: CacheKey, hits: int, frame: Frame = FRAME) -> EntryFacts:
    return EntryFacts(key.digest, key.tenant_id, key.model, frame.bytes, frame.created_at_us, frame.expires_at_us, hits)


def keep(notes: Notes, key: CacheKey, frame: Frame = FRAME) -> None:
    notes.kept(key, frame.bytes, created_us=frame.created_at_us, expires_us=frame.expires_at_us)


def test_what_is_taken_is_taken_once(notes: Notes) -> None:
    assert not notes.is_dirty
    keep(notes, KEY)
    assert notes.is_dirty
    assert notes.take() == [facts_of(KEY, 0)]
    assert notes.take() == []
    assert not notes.is_dirty


def test_hits_are_known_from_the_first_and_written_as_they_are_new(notes: Notes) -> None:
    keep(notes, KEY)
    assert [notes.hit(KEY, FRAME) for _ in range(3)] == [1, 2, 3]
    assert notes.take() == [facts_of(KEY, 3)]
    assert notes.hit(KEY, FRAME) == 4
    assert notes.take() == [facts_of(KEY, 1)]
    assert notes.hits == 4


def test_an_entry_of_another_worker_is_noted_at_its_first_hit(notes: Notes) -> None:
    assert notes.hit(KEY, FRAME) == 1
    assert notes.take() == [facts_of(KEY, 1)]


def test_rows_are_taken_in_the_order_of_their_digests(notes: Notes) -> None:
    for number in (3, 1, 2):
        notes.hit(key(number), FRAME)
    assert [facts.digest for facts in notes.take()] == [key(number).digest for number in (1, 2, 3)]


def test_an_entry_in_the_place_of_another_begins_with_its_own_hits(notes: Notes) -> None:
    notes.hit(KEY, FRAME)
    keep(notes, KEY, NEWER)
    assert notes.hit(KEY, NEWER) == 1
    assert notes.take() == [facts_of(KEY, 1, NEWER)]
    assert notes.hit(KEY, FRAME) == 1, "found by its time, where another worker put it there"


def test_what_could_not_be_written_is_added_to_what_is_new(notes: Notes) -> None:
    notes.hit(KEY, FRAME)
    notes.hit(key(2), FRAME)
    taken = notes.take()
    notes.hit(KEY, FRAME)
    keep(notes, key(2), NEWER)
    notes.give_back(taken)
    assert notes.take() == [facts_of(key(2), 0, NEWER), facts_of(KEY, 2)]


def test_requests_that_joined_become_hits_and_are_asked_for_later(notes: Notes) -> None:
    notes.misses += 5
    keep(notes, KEY)
    notes.joined(KEY, 2)
    notes.joined(KEY, 1)
    assert (notes.hits, notes.misses) == (3, 2)
    assert notes.hit(KEY, FRAME) == 4
    assert notes.take_joined() == {KEY: 3}
    assert notes.take_joined() == {}
    notes.add(KEY, FRAME, 3)
    assert notes.take() == [facts_of(KEY, 4)]
    assert notes.hit(KEY, FRAME) == 5


def test_who_joined_for_an_answer_that_was_replaced_is_no_hit_of_the_new_one(notes: Notes) -> None:
    notes.joined(KEY, 2)
    keep(notes, KEY)
    assert notes.take_joined() == {}
    assert notes.hits == 2


def test_of_too_many_entries_the_first_noted_is_forgotten(notes: Notes) -> None:
    for number in range(PAGES_MAX + 1):
        notes.hit(key(number), FRAME)
    facts = notes.take()
    assert len(facts) == PAGES_MAX
    assert key(0).digest not in {one.digest for one in facts}
    notes.hit(key(PAGES_MAX + 2), FRAME)
    notes.give_back(facts)
    assert len(notes.take()) == PAGES_MAX
    assert notes.hits == PAGES_MAX + 2
