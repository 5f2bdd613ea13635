"""The built site works without a network: scripts, styles, fonts and pictures are its own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.docs.blocks import ROOT

_MERMAID: Final = ROOT / "theme" / "assets" / "mermaid"
_LOADED: Final = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?([^"'\s>]+)""")
_LINKED: Final = re.compile(r"<link\b[^>]*>")
_IN_CSS: Final = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
_IN_SCRIPT: Final = re.compile(r"https?://(?:unpkg\.com|cdn\.[\w.]+|[\w.]*jsdelivr\.net|fonts\.[\w.]+)/[\w@./-]*")
# What the theme's script would ask a server for, and why it never does here.
_NEVER_ASKED: Final = {
    "https://unpkg.com/resize-observer-polyfill": "every browser of the last years has ResizeObserver",
    "https://unpkg.com/ace-builds": "no code block can be edited",
    "https://cdn.jsdelivr.net/pyodide": "no code block runs in the browser",
    "https://unpkg.com/pyodide": "no code block runs in the browser",
    "https://unpkg.com/glightbox": "no picture opens in a box",
    "https://unpkg.com/mermaid": "a page with a diagram has loaded the site's own script before",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, in a directory of its own."""
    if importlib.util.find_spec("zensical") is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail("REQUIRE_SERVERS=1, but the generator of the docs is not installed: scripts/setup docs")
        pytest.skip("the generator of the docs is not installed: scripts/setup docs")
    directory = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "zensical.toml", directory)
    for name in ("docs", "theme"):
        shutil.copytree(ROOT / name, directory / name)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    """The HTML of each page, by its path."""
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in sorted(site.rglob("index.html"))}


def test_a_page_loads_nothing_from_another_host(pages: dict[str, str]) -> None:
    assert len(pages) > 50
    for path, html in pages.items():
        links = [link for link in _LINKED.findall(html) if "canonical" not in link]
        loaded = _LOADED.findall(html) + [
            address for link in links for address in re.findall(r'href="?([^"\s>]+)', link)
        ]
        assert [address for address in loaded if "//" in address] == [], path


def test_styles_load_nothing_from_another_host(site: Path) -> None:
    styles = sorted(site.rglob("*.css"))
    assert styles
    for path in styles:
        assert _IN_CSS.findall(path.read_text(encoding="utf-8")) == [], path


def test_the_theme_asks_no_host_that_is_not_known(site: Path, pages: dict[str, str]) -> None:
    found = {url for path in site.rglob("*.js") for url in _IN_SCRIPT.findall(path.read_text(encoding="utf-8"))}
    assert [url for url in found if not url.startswith(tuple(_NEVER_ASKED))] == []
    for path, html in pages.items():
        assert not re.search(r'class="[^"]*\b(?:glightbox|editable|pyodide)\b', html), path


def test_a_page_with_a_diagram_loads_the_sites_own_script_first(pages: dict[str, str]) -> None:
    drawn = {path: html for path, html in pages.items() if 'class="mermaid"' in html}
    assert len(drawn) >= 8
    for path, html in drawn.items():
        own, theme = html.find("assets/mermaid/mermaid.tiny.js"), html.find("assets/javascripts/bundle")
        assert 0 < own < theme, path


def test_the_script_for_diagrams_is_the_one_that_was_taken_over(site: Path) -> None:
    expected, name = (_MERMAID / "SHA256SUMS").read_text(encoding="utf-8").split()
    for directory in (_MERMAID, site / "assets" / "mermaid"):
        assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == expected
        assert "MIT" in (directory / "LICENSE").read_text(encoding="utf-8")


def test_every_page_links_the_glossary_in_its_foot(pages: dict[str, str]) -> None:
    for path, html in pages.items():
        foot = html[html.index('class="md-copyright"') :]
        address = re.search(r'href="?([^">\s]+)"?>glossary<', foot)
        assert address is not None, path
        assert (Path(path).parent / address[1]).parts[-1:] == ("glossary",) or address[1] == "./", path
