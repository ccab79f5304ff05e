"""The addresses that are taken, and the sentence for each that is not."""

import ssl
from pathlib import Path

import pytest
import trustme

from aiservice.core.errors import SettingInvalid
from aiservice.core.settings import load
from aiservice.stores.redis import RedisAddress, address_of, redis_addresses


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress("single", (("cache", 6379),))),
        ("redis://10.0.0.1:7000/", RedisAddress("single", (("10.0.0.1", 7000),))),
        ("redis://[::1]:7000/2", RedisAddress("single", (("::1", 7000),), database=2)),
        ("redis://:pw@h:1/3", RedisAddress("single", (("h", 1),), database=3, password="pw")),
        ("redis://me:p%40%2Fss@h", RedisAddress("single", (("h", 6379),), username="me", password="p@/ss")),
        ("redis://me@h", RedisAddress("single", (("h", 6379),), username="me")),
        ("redis+cluster://a:1,b:2,c", RedisAddress("cluster", (("a", 1), ("b", 2), ("c", 6379)))),
        ("redis+cluster://:pw@a,[::1]:2/0", RedisAddress("cluster", (("a", 6379), ("::1", 2)), password="pw")),
        (
            "redis+sentinel://:pw@a,b:2/main/4?sentinel_password=x%26y&sentinel_username=s",
            RedisAddress(
                "sentinel",
                (("a", 26379), ("b", 2)),
                database=4,
                service="main",
                password="pw",
                sentinel_username="s",
                sentinel_password="x&y",
            ),
        ),
        ("redis+sentinel://a/main", RedisAddress("sentinel", (("a", 26379),), service="main")),
    ],
)
def test_addresses_that_are_taken(url: str, address: RedisAddress):
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://h", "must begin with redis://"),
        ("redis+cloud://h", "must begin with redis://"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://h:port", "HOST:PORT that cannot be read"),
        ("redis://h:70000", "HOST:PORT that cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://a..b", "a host name that is none"),
        ("redis://a,b", "names several servers"),
        ("redis://h/x", "must end in the database's number"),
        ("redis://h/-1", "must end in the database's number"),
        ("redis://h/1/2", "must end in the database's number"),
        ("redis+cluster://h/1", "has database 0 alone"),
        ("redis+cluster://a,,b", "names no host"),
        ("redis+sentinel://h", "lacks the sentinels' service"),
        ("redis+sentinel://h/main/x", "must end in the database's number"),
        ("redis://h?db=1", "takes no parameters; TLS begins with rediss://"),
        ("redis://h?ssl_ca_certs=x", "takes no parameters; TLS begins with rediss://"),
        ("redis://h?nonsense", "cannot be read"),
        ("rediss://h?ssl_cert_reqs=none", "takes ssl_ca_certs, ssl_certfile, ssl_check_hostname, ssl_keyfile"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname is true or false"),
        ("rediss://h?ssl_keyfile=key.pem", "ssl_keyfile needs ssl_certfile"),
        ("rediss://h?ssl_ca_certs=/nowhere.pem", "the TLS files cannot be read"),
    ],
)
def test_addresses_that_are_not(url: str, sentence: str):
    with pytest.raises(SettingInvalid) as raised:
        address_of(url, setting="REDIS_CACHE_URL")

    assert sentence in raised.value.public
    assert raised.value.public.startswith("REDIS_CACHE_URL")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@h/x",
        "redis://:hun/ter2@h",
        "redis://:hun#ter2@h",
        "redis://:hunter2@[::1",
        "redis://:hunter2@h:x",
        "redis://u:hunter2\u2100@h",
    ],
)
def test_a_password_is_in_no_message(url: str):
    with pytest.raises(SettingInvalid) as raised:
        address_of(url)

    words = f"{raised.value!r} {raised.value.__cause__!r}"
    assert "hun" not in words
    assert "ter2" not in words


def test_a_password_is_in_no_repr():
    address = address_of("redis+sentinel://u:hunter2@h/main?sentinel_password=hunter3")

    assert address.password == "hunter2"
    assert "hunter" not in repr(address)


def test_tls_verifies_unless_told_otherwise(tmp_path: Path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("client")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")

    plain = address_of("rediss://h")
    strict = address_of(f"rediss://h?ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/client.pem")
    loose = address_of(f"rediss+cluster://h?ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=FALSE")

    assert [plain.kind, strict.kind, loose.kind] == ["single", "single", "cluster"]
    for address in (plain, strict, loose):
        assert address.tls is not None
        assert address.tls.verify_mode is ssl.CERT_REQUIRED
        assert address.tls.check_hostname is (address is not loose)
    assert loose.tls_parameters == {"ssl_ca_certs": f"{tmp_path}/ca.pem", "ssl_check_hostname": False}


def test_where_limits_and_cache_are():
    def databases(**environ: str) -> list[tuple[str, int]] | None:
        both = redis_addresses(load({"ENVIRONMENT": "test", **environ}))
        return None if both is None else [(address.nodes[0][0], address.database) for address in both]

    assert databases() is None
    assert databases(REDIS_URL="redis://a/3") == [("a", 3), ("a", 4)]
    assert databases(REDIS_URL="redis+cluster://a") == [("a", 0), ("a", 0)]
    assert databases(REDIS_URL="redis+sentinel://a/main/1") == [("a", 1), ("a", 2)]
    assert databases(REDIS_URL="redis://a/3", REDIS_CACHE_URL="redis://b") == [("a", 3), ("b", 0)]
    assert databases(REDIS_HOST="c") == [("c", 0), ("c", 1)]
    assert databases(REDIS_HOST="c", REDIS_URL="redis://a") == [("a", 0), ("a", 1)]


def test_a_host_with_a_port_and_a_password_of_its_own():
    both = redis_addresses(
        load({"ENVIRONMENT": "test", "REDIS_HOST": "c", "REDIS_PORT": "7000", "REDIS_PASSWORD": "p@:/"})
    )

    assert both is not None
    assert both[0] == RedisAddress("single", (("c", 7000),), password="p@:/")


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"REDIS_CACHE_URL": "redis://b"}, "REDIS_CACHE_URL is for the cache of a service whose limits are in Redis"),
        ({"REDIS_HOST": "a..b"}, "REDIS_HOST has a host name that is none"),
        ({"REDIS_URL": "redis://a", "REDIS_CACHE_URL": "redis://b/x"}, "REDIS_CACHE_URL must end in"),
    ],
)
def test_settings_that_are_not_taken(environ: dict[str, str], sentence: str):
    settings = load({"ENVIRONMENT": "test", **environ})

    with pytest.raises(SettingInvalid) as raised:
        redis_addresses(settings)

    assert sentence in raised.value.public
