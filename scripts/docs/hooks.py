"""What differs between docs/ as it is read on a host of repositories and the site that MkDocs builds.

- Pages that live elsewhere in the repository (the changelog, the READMEs of examples) are pages of the site, too.
- Links to them lead to those pages; links to other files, which the site does not have, become plain text.
- Anchors of headings are made as the hosts make them, so that one link works in both places.
- The name of the site says which version it is about.
- Code blocks may have marks for the tests behind their language (```python no-run); the site leaves them out.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
ELSEWHERE: Final = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/README.md": "examples/README.md",
    **{
        path.relative_to(ROOT).as_posix(): f"examples/{path.parent.name}.md"
        for path in sorted(ROOT.glob("examples/*/README.md"))
    },
}
"""Files outside of docs/ that the site has, and where."""

ALONE: Final = frozenset({"README.md", "quick-start.md"})
"""Pages with no others beside them in the navigation: its column is left out."""

_FENCE: Final = re.compile(r"^( *)(`{3,}|~{3,})([^\n]*)\n(.*?)^ *\2[`~]* *$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(?:.|\n(?!\n))+?(?<!`)\1(?!`)")
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_MARKS: Final = re.compile(r"[a-z]\w*(?: [a-z][a-z-]*)+")


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
    """Add the pages that live elsewhere."""
    for source, place in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where they lead on the site."""
    place = page.file.src_uri
    if place in ALONE:
        page.meta["hide"] = ["navigation"]
    source = next((ROOT / name for name, other in ELSEWHERE.items() if other == place), DOCS / place)
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return f"\0{len(kept) - 1}\0"

    def fence(match: re.Match[str]) -> str:
        indent, ticks, info, code = match.groups()
        if _MARKS.fullmatch(info):
            info = info.partition(" ")[0]
        return keep(f"{indent}{ticks}{info}\n{code}{indent}{ticks}")

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        there = _on_site(source, place, target)
        return f"{picture}[{text}]({there})" if there else text

    markdown = _SPAN.sub(lambda match: keep(match[0]), _FENCE.sub(fence, markdown))
    markdown = _LINK.sub(link, markdown)
    while "\0" in markdown:
        markdown = re.sub("\0([0-9]+)\0", lambda match: kept[int(match[1])], markdown)
    return markdown


def _on_site(source: Path, place: str, target: str) -> str | None:
    """The link that leads there from a page of the site; ``None`` if the site does not have it."""
    name, sharp, anchor = target.partition("#")
    if not name or ":" in name:
        return target
    path = (source.parent / unquote(name)).resolve()
    if (path / "README.md").is_file():
        path /= "README.md"
    found = path.relative_to(ROOT).as_posix()
    if path.is_relative_to(DOCS):
        found = path.relative_to(DOCS).as_posix()
    elif found in ELSEWHERE:
        found = ELSEWHERE[found]
    else:
        return None
    return posixpath.relpath(found, posixpath.dirname(place) or ".") + sharp + anchor
