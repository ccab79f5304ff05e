"""What was sealed opens only as it was, for the tenant and head it was sealed with, with the same secret."""

import pytest

from aiservice.cache import CacheKey
from aiservice.cache.seal import AesSeal, MacSeal, Seal, head_of
from tests.unit.cache.workers import KEY, SECRET

PAYLOAD = b'{"text":"a secret answer"}'
HEAD = head_of(KEY, 1, 2)


@pytest.fixture(params=[MacSeal, AesSeal])
def seal(request: pytest.FixtureRequest) -> Seal:
    return request.param(SECRET)


def test_it_opens_as_it_was_sealed(seal: Seal) -> None:
    mark, data = seal.closed(HEAD, "acme", PAYLOAD)
    assert seal.opened(HEAD, "acme", data, mark=mark) == PAYLOAD
    assert type(seal)(SECRET).opened(HEAD, "acme", data, mark=mark) == PAYLOAD, "another worker's"


@pytest.mark.parametrize(
    "head",
    [head_of(KEY, 1, 3), head_of(KEY, 2, 2), head_of(KEY, 11, 2), head_of(CacheKey("b" * 64, "acme", "m"), 1, 2)],
)
def test_under_another_head_it_does_not_open(seal: Seal, head: bytes) -> None:
    mark, data = seal.closed(HEAD, "acme", PAYLOAD)
    assert seal.opened(head, "acme", data, mark=mark) is None


def test_with_another_secret_it_does_not_open(seal: Seal) -> None:
    mark, data = seal.closed(HEAD, "acme", PAYLOAD)
    assert type(seal)(b"another secret").opened(HEAD, "acme", data, mark=mark) is None


def test_every_flipped_bit_is_noticed(seal: Seal) -> None:
    mark, data = seal.closed(HEAD, "acme", PAYLOAD)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert seal.opened(HEAD, "acme", bytes(changed), mark=mark) is None
    for bit in range(8 * len(mark)):
        changed = bytearray(mark)
        changed[bit // 8] ^= 1 << bit % 8
        assert seal.opened(HEAD, "acme", data, mark=bytes(changed)) is None


@pytest.mark.parametrize("cut", [b"", b"x", PAYLOAD[:8]])
def test_what_was_cut_does_not_open(seal: Seal, cut: bytes) -> None:
    mark, data = seal.closed(HEAD, "acme", PAYLOAD)
    assert seal.opened(HEAD, "acme", cut, mark=mark) is None
    assert seal.opened(HEAD, "acme", data, mark=mark[:-1]) is None
    assert seal.opened(HEAD, "acme", data, mark=b"") is None


def test_one_seal_does_not_open_what_the_other_closed() -> None:
    plain, encrypted = MacSeal(SECRET), AesSeal(SECRET)
    mark, data = plain.closed(HEAD, "acme", PAYLOAD)
    assert encrypted.opened(HEAD, "acme", data, mark=mark) is None
    mark, data = encrypted.closed(HEAD, "acme", PAYLOAD)
    assert plain.opened(HEAD, "acme", data, mark=mark) is None


def test_encrypted_each_tenant_has_a_key_and_each_entry_a_nonce() -> None:
    seal = AesSeal(SECRET)
    sealed = [seal.closed(HEAD, tenant_id, PAYLOAD) for tenant_id in ("acme", "acme", "other", "\ud83d")]
    assert len({mark for mark, _ in sealed}) == 4
    assert len({data for _, data in sealed}) == 4
    mark, data = sealed[0]
    assert len(mark) == 12
    assert seal.opened(HEAD, "other", data, mark=mark) is None
    assert PAYLOAD[9:] not in data
