"""Where entries are, what a clearing removes, and when a worker takes it that one has been."""

from itertools import product

import pytest

from aiservice.cache import CacheKey
from aiservice.cache.eras import ERA_BYTES, ERAS_BYTES, PLACES_MAX, SHARDS, Eras, fresh, joined, names_of
from tests.unit.cache.workers import KEY, key

FULL = b"a" * ERAS_BYTES
OTHER = b"b" * ERAS_BYTES
NAMES = ["a", "b", "1:a", "a:b", "b:a", ":", "a}", "{a", "{}", "era", "lease", "model:", "tenant:a", "ä"]


def tag_of(name: str) -> str:
    """What Redis Cluster hashes of a key."""
    return name[name.index("{") + 1 : name.index("}")]


def test_all_keys_of_a_tenant_are_in_one_slot() -> None:
    for tenant_id, model in product(NAMES, NAMES):
        one = CacheKey("d" * 64, tenant_id, model)
        place = Eras().place(one)
        names = [place.entry(one), place.lease(one), *place.eras]
        assert len({tag_of(name) for name in names}) == 1
        assert {name.startswith("ai:c{") for name in names} == {True}
        assert len(set(names)) == 6


def test_no_two_scopes_share_an_era() -> None:
    names = [names_of(tenant_id, model) for tenant_id, model in product([None, *NAMES], repeat=2)]
    listed = [name for scope in names for name in scope]
    assert len(set(listed)) == len(listed)


def test_tenants_are_spread_over_the_shards() -> None:
    shards = {tag_of(Eras().place(key(1, f"tenant {number}")).prefix) for number in range(10_000)}
    assert len(shards) == SHARDS


@pytest.mark.parametrize(
    ("tenant_id", "model", "place"), [(None, None, 0), (None, "m", 1), ("acme", None, 2), ("acme", "m", 3)]
)
def test_a_clearing_removes_one_of_the_eras_that_an_entry_names(
    tenant_id: str | None, model: str | None, place: int
) -> None:
    removed = names_of(tenant_id, model)
    assert len(removed) == (SHARDS if tenant_id is None else 1)
    hit = [n for n, name in enumerate(Eras().place(KEY).eras) if name in removed]
    assert hit == [place]
    stranger = Eras().place(CacheKey("a" * 64, "other", "n")).eras
    assert [n for n, name in enumerate(stranger) if name in removed] == ([0] if place == 0 else [])


def test_eras_are_joined_as_a_script_does_and_one_that_lacks_is_seen_by_the_length() -> None:
    eras = [b"%8d" % number for number in range(4)]
    assert joined(eras) == b"".join(eras)
    assert len(joined([*eras[:2], None, eras[3]])) == ERAS_BYTES - ERA_BYTES
    assert joined([None] * 4) == b""
    assert len({fresh() for _ in range(100)}) == 100
    assert len(fresh()) == ERAS_BYTES


def test_the_number_changes_with_an_era_that_was_known_and_not_with_the_first_sight() -> None:
    eras = Eras()
    place = eras.place(KEY)
    eras.see(place, b"")
    eras.see(place, FULL)
    eras.see(place, FULL)
    assert eras.number == 0, "there was nothing before that could have been cleared"
    eras.see(place, OTHER)
    assert eras.number == 1
    eras.see(place, OTHER[ERA_BYTES:])
    assert eras.number == 2, "one is gone: cleared, or evicted"
    eras.see(place, FULL)
    assert eras.number == 2, "it has begun anew"
    eras.clear()
    assert eras.number == 3


def test_the_first_answer_after_none_begins_another_era() -> None:
    eras = Eras()
    place = eras.place(KEY)
    eras.see(place, FULL)
    eras.doubt()
    eras.doubt()
    assert eras.number == 0, "while Redis is away flights are shared as ever"
    eras.see(place, FULL)
    assert eras.number == 1
    eras.see(place, FULL)
    assert eras.number == 1


def test_places_are_remembered_and_forgotten_only_with_another_era() -> None:
    eras = Eras()
    first = eras.place(KEY)
    assert eras.place(key(7)) is first
    for number in range(PLACES_MAX - 1):
        eras.place(key(1, f"tenant {number}"))
    assert eras.number == 0
    assert eras.place(KEY) is first
    eras.place(key(1, "one too many"))
    assert eras.number == 1
    assert eras.place(KEY) is not first
