"""A browser as a person uses it, and the server of `chargpt play` that it looks at."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0  # seconds until something that should appear is given up
KEYS = Keys


def missing() -> str | None:
    """Return what a browser test lacks here, or None."""
    lacking = [name for name in ("chromium", "chromedriver") if which(name) is None]
    return f"needs {' and '.join(lacking)} (apt-get install chromium chromium-driver)" if lacking else None


def chromium(width: int = 1280, height: int = 900, *, dark: bool = False) -> webdriver.Chrome:
    """Return a headless chromium whose window has this size and colour scheme."""
    options = webdriver.ChromeOptions()
    options.binary_location = which("chromium") or "chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    driver.set_script_timeout(4 * PATIENCE)  # axe looks at every element
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


@contextmanager
def served(root: Path, *words: str) -> Iterator[str]:
    """Yield the address of `chargpt play --root=ROOT WORDS`, in a process of its own."""
    command = [sys.executable, "-m", "mingpt", "play", f"--root={root}", "--open=False", "--port=0", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root, env=environment
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                yield found[0]
                return
        raise AssertionError(f"chargpt play ended: {''.join(said)}")
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@dataclass
class Page:
    """The page in one browser.

    Attributes:
        address: of the server, with its token
    """

    driver: webdriver.Chrome
    address: str

    def open(self, view: str) -> None:
        """Load the page anew at `#view` and wait until it has started."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}#{view}")
        self.until(lambda: self.driver.execute_script("return document.documentElement.dataset.ready !== undefined"))

    def all(self, css: str) -> list[WebElement]:
        """Return the elements that show, or are hidden by nothing but scrolling."""
        return self.driver.find_elements("css selector", css)

    def one(self, css: str) -> WebElement:
        """Return the first element, once there is one."""
        return self.until(lambda: self.all(css))[0]

    def text(self, css: str) -> str:
        """Return the text of the first element as the page has it, with nothing that CSS adds."""
        return str(self.one(css).get_property("textContent"))

    def texts(self, css: str) -> list[str]:
        """Return the same of every element."""
        return [str(each.get_property("textContent")) for each in self.all(css)]

    def click(self, css: str, at: int = 0) -> None:
        """Click an element once it is there, as a person: it must show and be covered by nothing."""
        self.until(lambda: len(self.all(css)) > at)
        element = self.all(css)[at]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fill(self, css: str, value: str) -> None:
        """Replace what an input has."""
        element = self.one(css)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(value)

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Return what `condition` gives once that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except StaleElementReferenceException:
                pass  # the page has drawn it again meanwhile
            time.sleep(0.05)
        raise AssertionError(f"did not come true within {seconds:g} s; the page says: {self.problems()}")

    def problems(self) -> list[str]:
        """Return what the page complains of, to its user and in its console."""
        shown = [text for text in self.texts("#notice:not([hidden]), .status.wrong") if text]
        return [*shown, *(entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE")]

    def floats(self, path: str, **body: Any) -> list[float]:
        """Return the numbers that the page gets from /api/PATH, asked through its own module."""
        script = """
            const [path, body, done] = arguments;
            import("/static/api.js").then((api) => api.floats(path, body))
                .then((numbers) => done([...numbers]), (error) => done(error.message));
        """
        found = self.driver.execute_async_script(script, path, body)
        assert isinstance(found, list), found
        return found

    def write(self, columns: int = 1) -> list[str]:
        """Click Write, wait for the end of every column, and return their texts."""
        self.until(lambda: self.all(".nextbar:not([disabled])"))
        self.click(".write .primary")
        self.until(lambda: len([text for text in self.texts(".column .status") if "tokens" in text]) == columns)
        return self.texts(".column .tokens")


def labels(elements: Sequence[WebElement]) -> list[str]:
    """Return what a screen reader calls each element."""
    return [str(element.get_attribute("aria-label")) for element in elements]
