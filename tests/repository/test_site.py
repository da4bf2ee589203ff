"""The site that `make site` builds: every page, no broken link, and nothing of it comes from the network."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra `docs`")
CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).resolve().parents[2]


def build(root, out):
    """Build a site; returns the process that has ended."""
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(root / "mkdocs.yml")]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "--site-dir", str(out)], capture_output=True, text=True, env=settings, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    built = build(ROOT, out)
    assert built.returncode == 0, built.stderr
    return out


class Resources(HTMLParser):
    """What a browser would fetch to show a page, and the elements that the theme's script fetches more for."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        place = given.get("href") if tag == "link" else given.get("src")
        if re.match(r"(https?:)?//", place or "") or "mermaid" in (given.get("class") or "").split():
            self.found.append((tag, place))


def test_every_document_is_a_page(site):
    documents = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")
    }
    pages = {path.relative_to(site) for path in site.rglob("*.html")}
    assert pages == documents | {Path("index.html"), Path("404.html")}
    assert "Adapt" in (site / "index.html").read_text("utf-8") and (site / "pictures/report.png").is_file()


def test_no_page_needs_a_network(site):
    assert {page.name: found for page in site.rglob("*.html") if (found := Resources(page).found)} == {}


@pytest.mark.parametrize(
    "text", ['<img src="//a.b/c.png">', '<script src="https://a.b">', '<pre class="x mermaid">']
)
def test_the_check_of_resources_sees_them(tmp_path, text):
    (tmp_path / "page.html").write_text(text)
    assert len(Resources(tmp_path / "page.html").found) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (Debian: apt install chromium)")
def test_the_search_finds_pages_where_one_is_opened_from_a_folder(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 1400, "height": 900}).new_page()
        page.goto((site / "methods/plca.html").as_uri())
        page.fill(".md-search__input", "Lovasz")
        found = page.locator(".md-search-result__item").first
        found.wait_for()
        assert "PLCA" in " ".join(page.locator(".md-search-result__item").all_inner_texts())
        browser.close()


def test_a_broken_link_ends_the_build(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("README.md", "CITATION.cff", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "docs/protocol.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0 and "nowhere.md" in built.stderr
