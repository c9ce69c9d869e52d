import contextlib

import pytest

from workbench.app.security import Guard


def ask(listening, host, origin=None):
    """Return the status that a request gets from pages that listen at an address."""
    statuses = []
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        statuses.append(message.get("status"))

    with contextlib.suppress(StopIteration):  # nothing waits, so one step runs all of it
        Guard(answer, listening)({"type": "http", "headers": headers}, None, send).send(None)
    return statuses[0]


@pytest.fixture(autouse=True)
def name_machine(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "My-Machine")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_the_loopback_address_is_asked_by_its_names_only(host):
    assert ask("127.0.0.1", host) == 200
    for other in ("192.168.0.7:8080", "my-machine:8080", "evil.example", "[::1", ""):
        assert ask("127.0.0.1", other) == 403


@pytest.mark.parametrize(
    "host", ["192.168.0.7:8080", "[fe80::1]:8080", "my-machine:8080", "MY-MACHINE", "lab.example:8080", "localhost"]
)
def test_other_machines_use_an_address_or_a_name_of_this_machine(host):
    assert ask("Lab.example", host) == 200
    assert ask("Lab.example", host, f"http://{host}") == 200
    assert ask("Lab.example", host, "http://evil.example") == 403


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "lab.example.evil.example", "192.168.0.7.evil.example", "", "[x"]
)
def test_a_name_that_another_site_has_pointed_at_this_machine_is_refused(host):
    assert ask("0.0.0.0", host) == 403
