"""What differs between docs/ as it is read on a host of repositories and the site that MkDocs builds.

- Pages that live elsewhere in the repository (the changelog, the READMEs of examples) are pages of the site, too.
- Links to them lead to those pages. Links to other files of the repository lead to pages that show the file; links to
  folders, which the site does not have, become plain text.
- Cells of tables know the heading of their column: on a phone, site.css shows each row as a block of its own.
- Anchors of headings are made as the hosts make them, so that one link works in both places.
- The name of the site says which version it is about.
- Code blocks may have marks for the tests behind their language (```python no-run); the site leaves them out.
"""

from __future__ import annotations

import gc
import posixpath
import re
import tomllib
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from mkdocs.structure.files import File, Files, InclusionLevel
from pymdownx.slugs import slugify

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
ELSEWHERE: Final = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "benchmarks/README.md": "benchmarks.md",
    "clients/js/README.md": "clients/js.md",
    "examples/README.md": "examples/README.md",
    **{
        path.relative_to(ROOT).as_posix(): f"examples/{path.parent.name}.md"
        for path in sorted(ROOT.glob("examples/*/README.md"))
    },
}
"""Files outside of docs/ that the site has, and where."""

ALONE: Final = frozenset({"README.md", "quick-start.md"})
"""Pages with no others beside them in the navigation: its column is left out."""

SOURCES: Final = "source"
"""The folder of the site with the pages that show files of the repository."""

_FENCE: Final = re.compile(r"^( *)(`{3,}|~{3,})([^\n]*)\n(.*?)^ *\2[`~]* *$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(?:.|\n(?!\n))+?(?<!`)\1(?!`)")
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_TABLE: Final = re.compile(r"<table>\n<thead>.*?</table>", re.DOTALL)
_HEADING: Final = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL)
_CELL: Final = re.compile(r"<td(?=[ >])")
_MARKS: Final = re.compile(r"[a-z]\w*(?: [a-z][a-z-]*)+")


def on_startup(command: str, dirty: bool) -> None:
    """Collect no garbage while the site is built: that would take an eighth of the time, and the process ends soon."""
    if command == "build":
        gc.disable()


def on_config(config: MkDocsConfig) -> None:
    """Make anchors as the hosts of repositories do, and name the version."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    config.site_name = f"{config.site_name} {version()}"


def version() -> str:
    """The version that the pages are about, by pyproject.toml; "unreleased" when the changelog says so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    unreleased = newest is not None and newest[1] == "Unreleased"
    return f"{project['version']} (unreleased)" if unreleased else str(project["version"])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere, and the files that pages link to."""
    for source, place in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    shown: set[Path] = set()
    for file in files.documentation_pages():
        shown |= _linked_sources(file.src_uri, file.content_string)
    for path in sorted(shown):
        found = path.relative_to(ROOT).as_posix()
        page = File.generated(config, f"{SOURCES}/{found}.md", content=_source_page(path, found))
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where they lead on the site."""
    place = page.file.src_uri
    if place in ALONE:
        page.meta["hide"] = ["navigation"]
    if place.startswith(f"{SOURCES}/"):
        return markdown
    source = _source_of(place)

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        there = _on_site(source, place, target)
        return f"{picture}[{text}]({there})" if there else text

    kept, markdown = _without_code(markdown)
    markdown = _LINK.sub(link, markdown)
    while "\0" in markdown:
        markdown = re.sub("\0([0-9]+)\0", lambda match: kept[int(match[1])], markdown)
    return markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give every cell of a table the heading of its column, and the roles that a table loses when it is no grid."""

    def table(match: re.Match[str]) -> str:
        headings = [re.sub(r"<[^>]+>", "", heading).strip() for heading in _HEADING.findall(match[0])]
        columns = cycle(headings)
        labelled = _CELL.sub(lambda _: f'<td role="cell" data-label="{next(columns)}"', match[0])
        return (
            labelled.replace("<table>", '<table role="table">')
            .replace("<tr>", '<tr role="row">')
            .replace("<tbody>", '<tbody role="rowgroup">')
        )

    return _TABLE.sub(table, content)


def _without_code(markdown: str) -> tuple[list[str], str]:
    """Blocks and spans of code, and the text with their numbers in their places."""
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return f"\0{len(kept) - 1}\0"

    def fence(match: re.Match[str]) -> str:
        indent, ticks, info, code = match.groups()
        if _MARKS.fullmatch(info):
            info = info.partition(" ")[0]
        return keep(f"{indent}{ticks}{info}\n{code}{indent}{ticks}")

    return kept, _SPAN.sub(lambda match: keep(match[0]), _FENCE.sub(fence, markdown))


def _source_of(place: str) -> Path:
    """The file in the repository that a page of the site is made of."""
    return next((ROOT / name for name, other in ELSEWHERE.items() if other == place), DOCS / place)


def _linked_sources(place: str, markdown: str) -> set[Path]:
    """The files of the repository that a page links to and the site has no page of."""
    source = _source_of(place)
    targets = [match[3] for match in _LINK.finditer(_without_code(markdown)[1])]
    return {path for target in targets if (path := _in_repository(source, target)) and _is_source(path)}


def _is_source(path: Path) -> bool:
    if not path.is_file() or path.is_relative_to(DOCS) or not path.is_relative_to(ROOT):
        return False
    return path.relative_to(ROOT).as_posix() not in ELSEWHERE


def _source_page(path: Path, name: str) -> str:
    """A page that shows a file."""
    text = path.read_text(encoding="utf-8")
    ticks = max(["```", *(run + "`" for run in re.findall(r"`{3,}", text))], key=len)
    language = {"Makefile": "make"}.get(path.name, path.suffix.removeprefix("."))
    front = f"---\ntitle: {name}\nhide: [navigation, toc]\nsearch: {{exclude: true}}\n---\n"
    return f"{front}# `{name}`\n\n{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


def _in_repository(source: Path, target: str) -> Path | None:
    """The file or folder that a link leads to; ``None`` for a link within the page or to another host."""
    name = target.partition("#")[0]
    if not name or ":" in name:
        return None
    path = (source.parent / unquote(name)).resolve()
    return path / "README.md" if (path / "README.md").is_file() else path


def _on_site(source: Path, place: str, target: str) -> str | None:
    """The link that leads there from a page of the site; ``None`` if the site does not have it.

    A link to what is not there stays as it is: MkDocs warns of it.
    """
    path = _in_repository(source, target)
    if path is None or not (path.exists() and path.is_relative_to(ROOT)):
        return target
    found = path.relative_to(ROOT).as_posix()
    if path.is_relative_to(DOCS):
        found = path.relative_to(DOCS).as_posix()
    elif found in ELSEWHERE:
        found = ELSEWHERE[found]
    elif path.is_file():
        found = f"{SOURCES}/{found}.md"
    else:
        return None
    _, sharp, anchor = target.partition("#")
    return posixpath.relpath(found, posixpath.dirname(place) or ".") + sharp + anchor
