"""Where a server listens, and by which names it is asked."""

import socket

import pytest

from eval.serve.listen import listen, own_names, place, url


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_listened_at_and_said_as_a_browser_takes_it(host):
    try:
        door = listen(host, 0)
    except ValueError:
        pytest.skip("this machine has no IPv6")
    with door, socket.create_connection(("::1", door.getsockname()[1])):
        assert url(door) == f"http://[::1]:{door.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_localhost_is_the_address_that_every_client_tries(host):
    with listen(host, 0) as door, socket.create_connection(("127.0.0.1", door.getsockname()[1])):
        assert url(door) == f"http://127.0.0.1:{door.getsockname()[1]}"


def test_a_port_taken_on_ipv6_is_said_with_its_address():
    try:
        door = listen("::1", 0)
    except ValueError:
        pytest.skip("this machine has no IPv6")
    with door, pytest.raises(ValueError, match=r"^\[::1\]:[0-9]+ cannot be listened at \(Address already in use\)"):
        listen("::1", door.getsockname()[1])


def test_only_a_server_of_this_machine_knows_all_its_names():
    for host in ("localhost", "127.0.0.1", "::1", "[::1]", "LOCALHOST"):
        assert own_names(host) == ["localhost", "127.0.0.1", "[::1]"]
    assert own_names("0.0.0.0") == own_names("::") == ["*"]
    assert place("::", 80) == "[::]:80" and place("a.example", 80) == "a.example:80"
