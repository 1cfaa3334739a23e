"""The documentation site: it is built without a warning, it is complete, and it needs no other host."""

from __future__ import annotations

import asyncio
import html
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from mkdocs.utils.yaml import yaml_load
from playwright.async_api import Page, expect

from tests.support import thorough
from tests.support.legibility import SCHEMES, Scheme, faint_texts, nameless_controls, unmarked_focus
from tests.support.once import made_once
from tests.test_exports import EXPORTS
from tests.test_repository import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import Serve
    from tests.support.browser import Pages

    Reader = Callable[[str, Page], Awaitable[Page]]

ROOT: Final = Path(__file__).parent.parent
BESIDE_EXPORTS: Final = {
    "rtframework.options": ("AllowRequest", "EngineOptions", "Origins", "ProxyHeaders", "SlowConsumer"),
    "rtframework.protocols": ("Adapter", "Authenticator", "ConnectMiddleware", "Emitter", "EventMiddleware"),
    "rtframework.types": ("SocketDetails",),
    "rtframework.exceptions": ("EventError",),
    "rtframework.namespaces.operators": ("SocketOperator",),
}
BUILD: Final = ("-m", "mkdocs", "build", "--strict")
"""Without --quiet, which hides warnings from --strict as well."""

# The build takes 9 s of CPU, for which a busy machine may need minutes.
pytestmark = pytest.mark.timeout(360)

_MARKUP: Final = re.compile(r":[a-z]+:`|``|::$", re.MULTILINE)


def build(folder: Path, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    return subprocess.run(
        [sys.executable, *BUILD, "--site-dir", str(folder), *args],
        cwd=cwd,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    return made_once(tmp_path_factory, "site", build_in_silence)


def build_in_silence(folder: Path) -> None:
    """Build a site; fail if there is anything to say about it."""
    done = build(folder)
    assert done.returncode == 0, done.stdout
    unusual = [line for line in done.stdout.splitlines() if not re.match(r"INFO +-  (Clean|Build|Documentation)", line)]
    assert unusual == []


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


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """A link or an anchor that leads nowhere would stay until a reader finds it."""
    assert f"$(PY) {' '.join(BUILD)}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    docs = tmp_path / "docs"
    docs.mkdir()
    settings = (
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nextra_css: []\nhooks: []\nplugins: []\nnav: [README.md]\n"
    )
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    (docs / "README.md").write_text("# Home\n\n[page](gone.md), [heading](#gone)\n", encoding="utf-8")
    done = build(tmp_path / "site", cwd=tmp_path)
    assert done.returncode == 1
    assert "a link 'gone.md', but the target is not found" in done.stdout
    assert "a link '#gone', but there is no such anchor" in done.stdout
    assert "Aborted with 2 warnings in strict mode!" in done.stdout


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
    assert 'href="../source/examples/first_chat/page/style.css.html"' in tutorial
    finished = (site / "source/examples/first_chat/page/style.css.html").read_text(encoding="utf-8")
    assert "color-scheme" in finished
    example = (site / "examples/drawing.html").read_text(encoding="utf-8")
    assert 'src="../images/drawing.png"' in example
    assert 'href="../tutorials/drawing.html"' in example


def extension(name: str) -> ModuleType:
    """An extension of MkDocs: ``docstrings``, which makes Markdown of them, or ``hooks``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("[a](../options.md#limits)", "[a](../options.md#limits)"),
        ("[a](../../examples/drawing)", "[a](../examples/drawing.md)"),
        ("[a](../../examples/drawing/server.py)", "[a](../source/examples/drawing/server.py.md)"),
        ("[a](../../tests)", "a"),  # a folder
        ("[a](../../examples/gone.py)", "[a](../../examples/gone.py)"),  # MkDocs warns of it
        ("[a](https://socket.io)", "[a](https://socket.io)"),
        ("`[a](../../tests)`", "`[a](../../tests)`"),
    ],
)
def test_where_links_lead_on_the_site(link: str, there: str) -> None:
    """A link that leads nowhere would become plain text, and nobody would be told."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="tutorials/chat.md"), meta={})
    assert extension("hooks").on_page_markdown(link, page, None, None) == there


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
        ("See docs/testing.md.", "See [the page on it](../testing.md)."),
        ("Example::\n\n    await x\n\n    y = 1\n\nMore.", "Example:\n\n```python\nawait x\n\ny = 1\n```\n\nMore."),
        ("Tree.\n\n::\n\n    A\n    └── B", "Tree.\n\n\n```text\nA\n└── B\n```"),
    ],
)
def test_docstrings_become_markdown(docstring: str, markdown: str) -> None:
    """The reference would show the marks, or lose the examples."""
    made = extension("docstrings").to_markdown(docstring, {"a.B": "found"}.get)
    assert re.sub(r"\n{3,}", "\n\n", made) == re.sub(r"\n{3,}", "\n\n", markdown)


async def test_nothing_is_loaded_from_elsewhere(site: Path, serve: Serve, browser: Pages) -> None:
    """Readers would be told on, and see a broken page where there is no internet."""
    app = web.Application()
    app.router.add_static("/", site)
    server = await serve(app)
    page = await browser.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    names = ["tutorials/drawing.html", "api/server.html"]
    if thorough.is_thorough():
        names += ["index.html", "quick-start.html"]
    for name in names:
        await page.goto(f"{server.url}/{name}")
        await expect(page.locator("h1")).to_be_visible()
        await asyncio.sleep(0)
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    await expect(page.locator("[data-md-component=search-query]")).to_be_visible()
    await page.locator("[data-md-component=search-query]").click()
    await page.locator("[data-md-component=search-query]").press_sequentially("volatile")
    await expect(page.locator(".md-search-result__item").first).to_be_visible()
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []


def test_signatures_are_broken_into_lines(site: Path) -> None:
    """The signature of Server would be one line of a thousand characters."""
    page = (site / "api/server.html").read_text(encoding="utf-8")
    signatures = re.findall(r'<div class="doc-signature.*?</div>', page, re.DOTALL)
    assert signatures
    lines = [line for one in signatures for line in html.unescape(re.sub(r"<[^>]+>", "", one)).splitlines()]
    assert [line for line in lines if len(line) > 100] == []
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert [each for each in groups["docs"] if each.startswith("ruff")] == [
        each for each in groups["lint"] if each.startswith("ruff")
    ]  # `make docs` has no other group


@pytest.fixture
async def reader(site: Path, serve: Serve, browser: Pages) -> Reader:
    """``page = await reader("options.html", page)``: go to a page of the site."""
    app = web.Application()
    app.router.add_static("/", site)
    server = await serve(app)

    async def go(name: str, page: Page) -> Page:
        await page.goto(f"{server.url}/{name}", wait_until="domcontentloaded")
        return page

    return go


_TOO_WIDE: Final = r"""
async (names) => {
  const found = [];
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-same-origin"; // without scripts: they do not change how wide a page is, and take time
  frame.style.cssText = "width: 375px; height: 800px; border: 0";
  document.body.replaceChildren(frame);
  for (const name of names) {
    await new Promise((loaded) => {
      frame.onload = loaded;
      frame.src = `/${name}`;
    });
    const page = frame.contentDocument;
    const places = [page.documentElement, ...page.querySelectorAll(".md-content :is(p, table, td)")];
    // A broken line of code may stand out by its padding.
    for (const place of places.filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 5)) {
      found.push(`${name}: ${place.tagName} ${place.textContent.trim().slice(0, 40)}`);
    }
  }
  return found;
}
"""


async def test_every_page_fits_on_a_phone(site: Path, reader: Reader, browser: Pages) -> None:
    """Readers would have to scroll sideways to read a sentence, or a row of a table."""
    paths = [path.relative_to(site) for path in sorted(site.rglob("*.html"))]
    names = [path.as_posix() for path in paths if path.parts[0] != "source"]
    assert len(names) > 50
    if not thorough.is_thorough():
        names = names[::6]
    names.append("source/examples/drawing/page/board.js.html")  # the others are like it: a name, and code
    page = await reader("404.html", await browser.open(width=375, height=800))
    browser.expect_errors("Blocked script execution")
    assert await page.evaluate(_TOO_WIDE, names) == []


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_everything_can_be_read(scheme: Scheme, reader: Reader, browser: Pages) -> None:
    """Readers with weak eyes would not see a link, a comment in the code or where the focus is."""
    names, widths = ["api/events.html", "performance.html"], [1280 if scheme == "light" else 375]
    if thorough.is_thorough():
        names += ["index.html", "options.html", "tutorials/dashboard.html"]
        widths = [1280, 375]
    for width in widths:
        page = await browser.open(width=width, height=800)
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for name in names:
            await reader(name, page)
            await expect(page.locator("h1")).to_be_visible()
            assert await faint_texts(page) == [], name
            assert await nameless_controls(page) == [], name
        assert await unmarked_focus(page) == []
    links = page.locator(".md-content .md-typeset p a:not(.headerlink)")
    await expect(links.first).to_have_css("text-decoration-line", "underline")


async def test_a_row_of_a_table_is_a_block_on_a_phone(reader: Reader, browser: Pages) -> None:
    """Readers would see the name of an option, and scroll sideways for what it means."""
    page = await reader("options.html", await browser.open(width=375, height=800))
    cells = page.locator("table").first.locator("tbody tr").first.locator("td")
    for at, label in ((1, "default"), (2, "meaning")):
        content = await cells.nth(at).evaluate("cell => getComputedStyle(cell, '::before').content")
        assert label in content or content == 'attr(data-label) " "'
        await expect(cells.nth(at)).to_have_attribute("data-label", label)
    boxes = [await cells.nth(at).bounding_box() for at in range(3)]
    assert len({box["x"] for box in boxes if box}) == 1


async def test_tables_on_a_desktop(reader: Reader, browser: Pages) -> None:
    """Readers would see ``JSONSerializ er()``, and a paragraph that is two words wide beside the names of tests."""
    page = await reader("options.html", await browser.open(width=1280, height=800))
    default = page.locator("td:nth-child(2) code", has_text="JSONSerializer()").first
    assert await default.evaluate("code => code.getClientRects().length") == 1
    await reader("security.html", page)
    for table in await page.locator("table").all():
        promise = await table.locator("tbody tr:first-child td:nth-child(2)").bounding_box()
        tests = await table.locator("tbody tr:first-child td:last-child").bounding_box()
        assert promise is not None
        assert tests is not None
        assert promise["width"] >= tests["width"]


def test_pictures_of_the_docs_are_used() -> None:
    """The repository and the package would carry pictures that nobody sees."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    pictures = [path.name for path in (ROOT / "docs/images").iterdir()]
    assert [name for name in pictures if f"images/{name}" not in text] == []
