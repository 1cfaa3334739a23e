"""The table of routes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from rtframework_http_api.openapi import codes_of
from rtframework_http_api.problems import CODES
from rtframework_http_api.route import Route
from rtframework_http_api.routes import ROUTES
from tests.support.markdown import read_page

PAGE: Final = Path(__file__).parents[3] / "docs" / "http-api.md"


def test_routes_and_names_are_each_ones_own() -> None:
    """One route would hide another, or a client that is made of the document have one method of two."""
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_route_says_what_it_may_answer(route: Route) -> None:
    """A caller would meet an error that the document does not have."""
    assert set(route.problems) <= set(CODES)
    assert re.fullmatch(r"(/[a-z]+|/{id})+", route.path)
    assert route.takes.__struct_config__.forbid_unknown_fields
    assert route.summary.endswith(".")


def test_the_page_has_all_routes_with_their_scopes() -> None:
    """Who reads the page would not find a call, or take a key with too much."""
    rows = {row.cells[0].strip("`"): row.cells[1].strip("`") for row in read_page(PAGE).rows if row.section == "Calls"}
    assert rows == {
        **{f"{route.method} {route.path}": route.scope for route in ROUTES},
        "GET /openapi.json": "any key",
    }


def test_the_page_has_all_codes_with_their_statuses() -> None:
    """Who handles errors by their code would not know one."""
    rows = {row.cells[1].strip("`"): row.cells[0] for row in read_page(PAGE).rows if row.section == "Errors"}
    assert rows == {code: str(status) for code, (status, _) in CODES.items()}


def test_every_code_is_some_calls() -> None:
    """A code that nothing answers would be handled for nothing."""
    answered = {code for route in ROUTES for code in codes_of(route)}
    assert set(CODES) - answered == {"not_found", "method_not_allowed"}
