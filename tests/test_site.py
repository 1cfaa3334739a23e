"""The documentation site: it is built without a warning, it is complete, and it needs no other host."""

from __future__ import annotations

import asyncio
import html
import importlib.util
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from mkdocs.utils.yaml import yaml_load
from playwright.async_api import expect

from tests.test_exports import EXPORTS
from tests.test_repository import VERSION

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.support.browser import Pages

ROOT: Final = Path(__file__).parent.parent
BESIDE_EXPORTS: Final = {
    "rtframework.options": ("AllowRequest", "EngineOptions", "Origins", "ProxyHeaders", "SlowConsumer"),
    "rtframework.protocols": ("Adapter", "Authenticator", "ConnectMiddleware", "Emitter", "EventMiddleware"),
    "rtframework.types": ("SocketDetails",),
    "rtframework.exceptions": ("EventError",),
    "rtframework.namespaces.operators": ("SocketOperator",),
}
_MARKUP: Final = re.compile(r":[a-z]+:`|``|::$", re.MULTILINE)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def text_of(page: Path) -> str:
    """What people read on a page, without its code blocks, navigation and scripts."""
    found = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found, page
    prose = re.sub(r"<(pre|script|style)\b.*?</\1>", "", found[0], flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", prose))


def test_it_is_built_without_a_warning(site: Path) -> None:
    """A link would lead nowhere, or a page be left out of the navigation, and nobody would be told."""
    assert (site / "index.html").is_file()


def test_every_page_says_of_which_version_it_is(site: Path) -> None:
    """Readers would try what their version does not have."""
    for name in ("index.html", "api/server.html", "examples/chat.html"):
        header = re.search(r"<header.*?</header>", (site / name).read_text(encoding="utf-8"), re.DOTALL)
        assert header
        assert f"rtframework {VERSION}" in header[0], name


def places(nav: object) -> Iterator[str]:
    """The pages of a navigation, from top to bottom."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from places(value)
    elif isinstance(nav, list):
        for each in nav:
            yield from places(each)


def test_every_page_is_in_the_navigation_once() -> None:
    """A page that is not in the navigation is found by those only who know that it is there."""
    nav = list(places(yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(nav) == sorted(set(nav))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - set(nav) == set()
    assert {f"examples/{path.parent.name}.md" for path in ROOT.glob("examples/*/README.md")} - set(nav) == set()


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """Who looks a name up would find half of them."""
    listed = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    known = {line.split(" ", 1)[0] for line in listed.splitlines()}
    wanted = {
        f"{module}.{name}" for table in (EXPORTS, BESIDE_EXPORTS) for module, names in table.items() for name in names
    }
    assert sorted(wanted - known) == []


def test_no_markup_is_left_in_the_reference(site: Path) -> None:
    """Docstrings would be shown as they are written, with the marks of another language in them."""
    for page in sorted((site / "api").glob("*.html")):
        text = text_of(page)
        assert _MARKUP.findall(text) == [], page.name
        assert "autoref" not in text, page.name


def test_headings_have_the_anchors_of_the_sources(site: Path) -> None:
    """A link to a heading would work in one of the two places where the pages are read."""
    page = (site / "middleware.html").read_text(encoding="utf-8")
    assert 'id="connect-middleware"' in page
    assert 'id="max_http_buffer_size"' not in page
    assert 'href="namespaces.html' in page


def test_links_out_of_the_docs_lead_to_pages_of_the_site(site: Path) -> None:
    """A link that works where the repository is read would be dead on the site."""
    home = (site / "index.html").read_text(encoding="utf-8")
    for there in ("changelog.html", "contributing.html", "benchmarks.html", "examples/index.html"):
        assert f'href="{there}"' in home, there
    tutorial = (site / "tutorials/chat.html").read_text(encoding="utf-8")
    assert 'href="../examples/first_chat.html"' in tutorial
    assert "style.css</code>" in tutorial  # a file that the site does not have: its name, and no link
    example = (site / "examples/drawing.html").read_text(encoding="utf-8")
    assert 'src="../images/drawing.png"' in example
    assert 'href="../tutorials/drawing.html"' in example


def docstrings_module() -> ModuleType:
    """The extension that makes Markdown of docstrings."""
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "scripts/docs/docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("See ``x`` and ``y``.", "See `x` and `y`."),
        ("See :class:`~a.B`.", 'See <autoref identifier="found" optional><code>B</code></autoref>.'),
        ("See :meth:`gone`.", "See `gone`."),
        (
            "One.\n\n``a``: one,\nand more.\n``b``, ``c``: two.",
            "One.\n\n- `a`: one,\n  and more.\n- `b`, `c`: two.",
        ),
        ("Example::\n\n    await x\n\n    y = 1\n\nMore.", "Example:\n\n```python\nawait x\n\ny = 1\n```\n\nMore."),
        ("Tree.\n\n::\n\n    A\n    └── B", "Tree.\n\n\n```text\nA\n└── B\n```"),
    ],
)
def test_docstrings_become_markdown(docstring: str, markdown: str) -> None:
    """The reference would show the marks, or lose the examples."""
    made = docstrings_module().to_markdown(docstring, {"a.B": "found"}.get)
    assert re.sub(r"\n{3,}", "\n\n", made) == re.sub(r"\n{3,}", "\n\n", markdown)


async def test_nothing_is_loaded_from_elsewhere(site: Path, serve: Serve, browser: Pages) -> None:
    """Readers would be told on, and see a broken page where there is no internet."""
    app = web.Application()
    app.router.add_static("/", site)
    server = await serve(app)
    page = await browser.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("index.html", "quick-start.html", "tutorials/drawing.html", "api/server.html"):
        await page.goto(f"{server.url}/{name}")
        await expect(page.locator("h1")).to_be_visible()
        await asyncio.sleep(0)
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    await expect(page.locator("[data-md-component=search-query]")).to_be_visible()
    await page.locator("[data-md-component=search-query]").click()
    await page.locator("[data-md-component=search-query]").press_sequentially("volatile")
    await expect(page.locator(".md-search-result__item").first).to_be_visible()
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []


async def test_it_fits_on_a_phone(site: Path, serve: Serve, browser: Pages) -> None:
    """Readers would have to scroll sideways to read a sentence."""
    app = web.Application()
    app.router.add_static("/", site)
    server = await serve(app)
    page = await browser.open(width=390, height=800)
    for name in ("index.html", "options.html", "coming-from-node.html", "api/server.html"):
        await page.goto(f"{server.url}/{name}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, name
