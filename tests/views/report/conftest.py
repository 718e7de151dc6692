"""A real browser for the report."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

ARGUMENTS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync"""

SCREENS = {"desk": (1280, 844), "phone": (390, 844)}
"""Width and height in CSS pixels."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with a chromedriver: `make programs` installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS.split():
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, Service(driver)) as chrome:
        yield chrome


Visit = Callable[..., AbstractContextManager[webdriver.Chrome]]


@pytest.fixture
def visit(browser: webdriver.Chrome) -> Visit:
    """Open a page in light or dark, at a desk or on a phone: `visit(path, dark=True)`.

    Afterwards nothing must stand in its console, and nothing but the page have been requested.
    """

    @contextmanager
    def open_page(
        path: Path, *, dark: bool = False, device: str = "desk"
    ) -> Iterator[webdriver.Chrome]:
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get_log("performance")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        width, height = SCREENS[device]
        screen = {"width": width, "height": height, "mobile": device == "phone"}
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", screen | {"deviceScaleFactor": 1}
        )
        browser.get(path.as_uri())
        WebDriverWait(browser, 30).until(
            lambda chrome: chrome.execute_script("return document.documentElement.dataset.ready")
        )
        yield browser
        assert browser.get_log("browser") == []
        assert requested(browser) == {path.as_uri()}

    return open_page


def requested(browser: webdriver.Chrome) -> set[str]:
    """The addresses that the page asked for, without what stands behind a number sign."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
