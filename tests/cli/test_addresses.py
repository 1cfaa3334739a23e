"""Sockets to listen on: all addresses of a host, or a Unix socket, and what is said when that cannot be."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtframework.cli import addresses
from rtframework.cli.addresses import BACKLOG, bind, bind_unix, remove_unix, url_of
from rtframework.cli.errors import Exit, Failure
from tests.support.server import HOST, backlog_of

unix_only = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Every socket that is made; all are closed at the end."""
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr("rtframework.cli.addresses.socket.socket", Noted)
    yield made
    for each in made:
        each.close()


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_a_port_is_picked_and_can_be_connected_to(opened: list[socket.socket]) -> None:
    """``--port 0`` would say port 0 in the URL, or answer only later."""
    (sock,) = bind(HOST, 0)
    assert port_of(sock) != 0
    assert url_of(sock) == f"http://{HOST}:{port_of(sock)}"
    with socket.create_connection((HOST, port_of(sock)), timeout=5):
        pass


def test_all_addresses_of_a_host_have_the_port_that_was_picked(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser that takes the other address of "localhost" would find nobody."""
    kind = (socket.SOCK_STREAM, 6, "")
    found = [(socket.AF_INET, *kind, (address, 0)) for address in (HOST, "127.0.0.2", HOST)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    one, other = bind("somehost", 0)  # what is there twice is bound once
    assert [one.getsockname()[0], other.getsockname()[0]] == [HOST, "127.0.0.2"]
    assert port_of(one) == port_of(other)


def test_addresses_of_a_kind_that_the_machine_lacks_are_passed_over(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without IPv6, whose hosts file knows ``::1``, could serve nothing."""
    kind = (socket.SOCK_STREAM, 6, "")
    found: list[Any] = [(9999, *kind, ("x", 0)), (socket.AF_INET, *kind, (HOST, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    assert [each.getsockname()[0] for each in bind("localhost", 0)] == [HOST]
    del found[1]
    with pytest.raises(Failure, match="localhost has no address that this machine can listen on"):
        bind("localhost", 0)


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
def test_a_port_can_be_used_again_at_once(opened: list[socket.socket]) -> None:
    """A server that is started again would wait for minutes for the connections of the old one."""
    (sock,) = bind(HOST, 0)
    port = port_of(sock)
    with socket.create_connection((HOST, port), timeout=5):
        accepted, _ = sock.accept()
        accepted.close()  # first: its side waits afterwards
        sock.close()
    (again,) = bind(HOST, port)
    assert port_of(again) == port


def test_a_port_in_use_is_said_and_nothing_stays_open(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback says it less clearly; and one address of two would stay taken for as long as the process lives."""
    (sock,) = bind(HOST, 0)
    port = port_of(sock)
    kind = (socket.SOCK_STREAM, 6, "")
    found = [(socket.AF_INET, *kind, (address, port)) for address in ("127.0.0.2", HOST)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    with pytest.raises(Failure) as caught:
        bind("somehost", port)
    assert str(caught.value) == f"somehost:{port} is in use: another program listens there"
    assert caught.value.code == Exit.FAILED
    assert [each.fileno() == -1 for each in opened] == [False, True, True]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EADDRINUSE, "a:1 is in use: another program listens there"),
        (errno.EADDRNOTAVAIL, "a:1 is no address of this machine"),
        (errno.EACCES, "a:1 may not be listened on by this user"),
        (errno.EMFILE, "cannot listen on a:1: Too many open files"),
    ],
)
def test_what_the_system_says_in_words_of_the_user(number: int, says: str) -> None:
    """ "Permission denied" alone does not say that ports below 1024 are root's."""
    assert addresses._explain(OSError(number, os.strerror(number)), "a:1") == says


def test_a_host_that_is_none() -> None:
    """The resolver's error would be shown with its number."""
    with pytest.raises(Failure, match=r"no\.such\.host\.invalid is no address of this machine: "):
        bind("no.such.host.invalid", 0)


# --- Unix sockets -----------------------------------------------------------------------------------------------------


@unix_only
def test_a_unix_socket_is_listened_on_and_removed(tmp_path: Path) -> None:
    """A proxy on the same machine would need a port; or find a file that nobody answers at."""
    path = str(tmp_path / "io.sock")
    with bind_unix(path) as sock:
        assert url_of(sock) == f"unix:{path}"
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
    remove_unix(path)
    assert not os.path.exists(path)
    remove_unix(path)  # somebody else was first


@unix_only
def test_one_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """After a crash the server would not start before somebody has removed a file."""
    path = str(tmp_path / "io.sock")
    bind_unix(path).close()
    assert os.path.exists(path)
    with bind_unix(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)


@unix_only
def test_one_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    """A second server would take the place of the first without a word."""
    path = str(tmp_path / "io.sock")
    with bind_unix(path):
        with pytest.raises(Failure, match=r"io\.sock is in use: another program listens there"):
            bind_unix(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)


@unix_only
def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    """A typing mistake would cost a file."""
    path = tmp_path / "notes.txt"
    path.write_text("important")
    with pytest.raises(Failure, match=r"notes\.txt is there already, and no Unix socket"):
        bind_unix(str(path))
    assert path.read_text() == "important"


@unix_only
def test_a_unix_socket_has_a_name_and_a_folder(tmp_path: Path) -> None:
    """A socket would be made that has no file, which no proxy finds."""
    with pytest.raises(Failure, match="needs the name of a file") as caught:
        bind_unix("")
    assert caught.value.code == Exit.USAGE
    with pytest.raises(Failure, match=r"cannot listen on .*: No such file or directory"):
        bind_unix(str(tmp_path / "nowhere" / "io.sock"))


def test_urls_of_both_kinds_of_addresses() -> None:
    """An IPv6 address without brackets is no URL."""

    class At:
        def __init__(self, name: Any) -> None:
            self.getsockname = lambda: name

    assert url_of(At(("::1", 8080, 0, 0))) == "http://[::1]:8080"  # type: ignore[arg-type]
    assert url_of(At(("0.0.0.0", 80))) == "http://0.0.0.0:80"  # type: ignore[arg-type]
    assert url_of(At("/run/io.sock")) == "unix:/run/io.sock"  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/sys/net/core/somaxconn").exists(), reason="only Linux tells")
def test_thousands_may_wait_to_be_accepted() -> None:
    """Clients that come back all at once would be turned away, and try again a second later."""
    for sock in bind(HOST, 0):
        with sock:
            assert backlog_of(sock) == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
