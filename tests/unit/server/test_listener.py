import socket

import pytest

from aiservice.core.errors import PortInUse, SettingInvalid
from aiservice.server.listener import bind, url_of


def test_port_0_takes_a_free_one():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]

        assert port > 0
        assert url_of("127.0.0.1", listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass


def test_a_taken_port_is_refused_and_says_what_to_do():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(PortInUse, match=f"Port {port} on 127.0.0.1 is in use; stop .* or set PORT"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 300])
def test_a_host_that_is_not_ours_is_a_wrong_setting(host):
    with pytest.raises(SettingInvalid, match="HOST is"):
        bind(host, 0)


def test_addresses_of_version_6_stand_in_brackets():
    with bind("127.0.0.1", 0) as listener:
        assert url_of("::1", listener).startswith("http://[::1]:")
