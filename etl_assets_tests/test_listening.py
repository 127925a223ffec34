"""Whether something listens at an address: asked before ``up`` starts, and until what it started is there."""

import socket

import pytest

from etl_assets.processes import is_listening


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104 (what is tried)
def test_a_server_is_found_at_the_address_that_it_was_told(host):
    with socket.create_server(("" if host == "0.0.0.0" else "127.0.0.1", 0)) as server:  # noqa: S104 (compared)
        port = server.getsockname()[1]

        assert is_listening(host, port)

    assert not is_listening(host, port)


def test_a_server_on_all_interfaces_of_ipv6_is_found():
    try:
        server = socket.create_server(("::", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert is_listening("::", server.getsockname()[1])
