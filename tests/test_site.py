"""The site of the documents: it builds without a warning, and every link in it leads somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import unshuffle

PROJECT = Path(__file__).parent.parent


class Page(HTMLParser):
    """The ids of a page, where it links to, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        address = values.get("href") or values.get("src")
        if address and values.get("rel") != "canonical":
            (self.links if tag == "a" else self.loads).append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto"]
    command += ["-c", "docs", "-d", str(folder / "doctrees"), ".", str(folder / "site")]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {path: Page(path) for path in (folder / "site").rglob("*.html")}


def test_links_lead_somewhere(site):
    assert len(site) > 15
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name} links to {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in site[target].ids, f"{path.name} links to {link}"


def test_nothing_is_loaded_from_elsewhere(site):
    assert sum(len(page.loads) for page in site.values()) > 100
    for path, page in site.items():
        for address in page.loads:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), f"{path.name}: {address}"
            assert not parts.netloc, f"{path.name}: {address}"
            if not parts.scheme:
                assert (path.parent / unquote(parts.path)).exists(), f"{path.name}: {address}"
    for style in next(path for path in site if path.name == "README.html").parent.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text()), style


def test_every_public_name_is_explained(site):
    (page,) = (page for path, page in site.items() if path.parts[-2:] == ("api", "public.html"))
    names = {f"unshuffle.{name}" for name in unshuffle.__all__ if name != "__version__"}
    assert names <= page.ids
