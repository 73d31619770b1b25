"""The reading copy of `make html`: every page is there, every link leads somewhere, nothing comes from another host."""
import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from conftest import CHROMIUM, ROOT

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


class Page(HTMLParser):
    """The references of one page: `links` to follow, `loads` that the browser fetches by itself, `places` to jump to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") != "canonical" and found.get("href"):
            self.loads.append(found["href"])
        self.loads += [found["src"]] if found.get("src") else []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder with the site, built as `make html` does; a warning would fail."""
    folder = tmp_path_factory.mktemp("site") / "html"
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", ROOT / "docs", ROOT, folder],
                          capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_every_lesson_is_a_page_and_the_front_page_leads_to_it(site, pages):
    front = {unquote(link) for link in pages[site / "index.html"].links}
    for name in [f"notebooks/{name}" for name in NOTEBOOKS] + ["docs/glossary", "Model/README", "Media/CREDITS"]:
        assert site / f"{name}.html" in pages and f"{name}.html" in front
    words = (site / "notebooks" / f"{NOTEBOOKS[4]}.html").read_text(encoding="utf-8")
    assert "clip_doubtful.jpg  Surprise" in words                                   # an output that is saved in notebook 5


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file() or (parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].places):
                broken.append((str(path.relative_to(site)), link))
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_another_host(pages):
    assert not {load for page in pages.values() for load in page.loads if urlsplit(load).scheme not in ("", "data")}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome here: install one to look at the site")
@pytest.mark.parametrize("width, height", [(390, 844), (1366, 900)], ids=["phone", "desktop"])
def test_in_a_browser_each_page_fits_and_asks_nobody(site, pages, width, height):
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    asked, wrong, wide = [], [], []

    def note_errors(message):          # Python 3.10's older theme asks for fonts that a folder can't give, and draws its icons without
        if message.type == "error" and "/webfonts/" not in message.text + message.location["url"]:
            wrong.append(message.text)

    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", note_errors)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for path in pages:
            page.goto(path.as_uri())
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(path.name)
        page.goto((site / "notebooks" / f"{NOTEBOOKS[0]}.html").as_uri())
        page.locator("a", has_text="2. Load the network").locator("visible=true").first.click()
        assert page.url.endswith("02_load_the_network.html")
        browser.close()
    assert (wide, wrong) == ([], [])
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data", "blob"}
