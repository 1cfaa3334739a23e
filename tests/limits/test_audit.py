"""The audit log: one structured record, no token, and not one for each packet of an attacker."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import AuditEntry, ConfigurationError, Identity, Server
from rtframework.limits.audit import Audit, name_of
from tests.support.clients import held_clock


async def test_a_record_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could find out afterwards who came from where."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    Audit().write("login", address="203.0.113.7", user=Identity("42", name="Ada"), nsp="/chat", sid="abc")
    (record,) = caplog.records
    fields: dict[str, Any] = vars(record)
    assert {name: fields[name] for name in ("kind", "address", "user", "nsp", "sid", "left_out")} == {
        "kind": "login",
        "address": "203.0.113.7",
        "user": "42",
        "nsp": "/chat",
        "sid": "abc",
        "left_out": 0,
    }
    assert not {"code", "limit"} & fields.keys()
    assert record.getMessage() == "login address='203.0.113.7' user='42' nsp='/chat' sid='abc'"


async def test_nothing_a_client_names_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """A client could write entries of its own into the log."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    Audit().write("refusal", address="203.0.113.7", user="ada\nkick", nsp="/x\n2026 CRITICAL", code="\x1b[31m")
    assert caplog.records[0].getMessage().isprintable()


async def test_a_user_is_named_without_secrets() -> None:
    """The log would hold what a program keeps in its user: tokens, claims, addresses."""
    assert name_of(None) is None
    assert name_of(Identity("42", claims={"token": "secret"})) == "42"
    assert name_of("ada") == "ada"
    assert name_of(7) == "7"
    assert name_of(SimpleNamespace(name="Ada", token="secret")) == "Ada"
    assert name_of({"token": "secret"}) == "dict"


async def test_it_is_off_unless_somebody_listens(caplog: pytest.LogCaptureFixture) -> None:
    """An attack would cost a server that keeps no audit log its time."""
    audit = Audit()
    caplog.set_level(logging.WARNING, "rtframework.audit")
    assert not audit.is_on
    audit.write("refusal", address="203.0.113.7")
    assert (len(audit._of_kind), caplog.records) == (0, [])
    audit.hear(print)
    assert audit.is_on


async def test_records_are_limited_by_address_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand refusals a second would fill the disk; and hide the one login among them."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    async with held_clock() as clock:
        audit = Audit()
        heard: list[AuditEntry] = []
        audit.hear(heard.append)
        for _ in range(1_000):
            audit.write("refusal", address="203.0.113.7")
        audit.write("login", address="203.0.113.7", user="ada")
        audit.write("refusal", address="203.0.113.8")
        assert len(caplog.records) == 12
        assert len(heard) == 1_002, "whoever counts them gets them all"
        for number in range(1_000):
            audit.write("refusal", address=f"10.0.0.{number}")
        assert len(caplog.records) == 12 + 89, "of a million addresses, too"
        await clock.advance(10)
        audit.write("refusal", address="203.0.113.9")
        record: Any = caplog.records[-1]
        assert record.left_out == 911
        assert "(911 more since the last such line)" in record.getMessage()


async def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in the function would refuse clients, or hide the entry from the log."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    audit = Audit()
    heard: list[AuditEntry] = []

    @audit.hear
    def fail(entry: AuditEntry) -> None:
        raise ZeroDivisionError

    audit.hear(heard.append)
    audit.write("kick", address="2001:db8::1", user="ada")
    assert heard == [AuditEntry("kick", "2001:db8::1", "ada")]
    assert heard[0].network == "2001:db8::/64"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    with pytest.raises(ConfigurationError, match="on_audit takes a function"):
        audit.hear("refusal")  # type: ignore[arg-type]


async def test_functions_that_would_have_to_be_awaited_are_mistakes() -> None:
    """A program would believe that it bans guessers, and its function would never run."""

    async def ban(entry: AuditEntry) -> None: ...

    with pytest.raises(ConfigurationError, match="make it a plain function"):
        Audit().hear(ban)


async def test_a_program_writes_entries_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """What admins do in a program's own pages would be missing between what they do in the framework's."""
    caplog.set_level(logging.INFO, "rtframework.audit")
    io = Server()
    heard: list[AuditEntry] = []
    io.on_audit(heard.append)
    entry = AuditEntry("admin", "192.0.2.1", "ada", code="maintenance on")
    io.audit(entry)
    assert heard == [entry]
    assert "admin address='192.0.2.1' user='ada' code='maintenance on'" in caplog.text
