"""Take the screenshots of docs/play.md: `python docs/screenshots.py RUN [RUN2 ...]`, with chromium and selenium.

RUN and the others are run folders in one folder; the first should be a GPT and another a recurrent network.
"""

import base64
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "pictures"
WIDTH, HEIGHT = 1280, 860
PATIENCE = 60  # seconds
COLOURS = 256  # of a picture, a third of the size of one in full colour
BRANCH_AT = 32  # token whose alternatives the first picture shows

DRAWN = "document.querySelector('.mapfigure') && !document.querySelector('.mapfigure:not([data-ready])')"


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Yield the address of the page that shows the runs below `root`."""
    words = ("play", f"--root={root.name}", "--open=False", "--port=0", "--train=True")
    command = [sys.executable, str(HERE.parent / "chargpt.py"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root.parent)
    try:
        assert process.stdout is not None
        yield next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
    finally:
        process.terminate()
        process.wait()


def browser(dark: bool = False) -> webdriver.Chrome:
    """Return a headless chromium with a window of WIDTH by HEIGHT."""
    options = webdriver.ChromeOptions()
    options.binary_location = which("chromium") or "chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


def shown(driver: webdriver.Chrome, address: str, view: str, ready: str) -> None:
    """Open a view and wait until `ready`, a script's condition, holds; then until nothing moves."""
    driver.get("about:blank")
    driver.get(f"{address}#{view}")
    wait(driver, ready)
    time.sleep(2)


def wait(driver: webdriver.Chrome, condition: str) -> Any:
    """Wait until a script's condition holds."""
    end = time.monotonic() + PATIENCE
    while not (found := driver.execute_script(f"return {condition}")):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.1)
    return found


def save(driver: webdriver.Chrome, name: str, height: int = HEIGHT) -> None:
    """Save the top of the page as a picture of WIDTH by `height`."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
    how = {"format": "png", "clip": clip, "captureBeyondViewport": True, "optimizeForSpeed": False}
    data = driver.execute_cdp_cmd("Page.captureScreenshot", how)["data"]
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    picture.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(FOLDER / f"play-{name}.png", optimize=True)


def write(driver: webdriver.Chrome, address: str, runs: list[str]) -> None:
    """Two runs from one seed, with the alternatives of one token."""
    both = "&".join(f"run={name}" for name in runs[:2])
    shown(
        driver,
        address,
        f"write?{both}&prompt=ROMEO:%0A&max_new_tokens=300&seed=4",
        "document.querySelector('.nextbar')",
    )
    driver.find_element("css selector", ".write .primary").click()
    wait(driver, "[...document.querySelectorAll('.column .status')].every((one) => one.textContent.includes('tokens'))")
    driver.execute_script(
        "document.querySelectorAll('.output').forEach((box) => (box.scrollTop = 0));"
        f"document.querySelectorAll('.tok:not(.given)')[{BRANCH_AT}].click()"
    )
    time.sleep(0.5)
    save(driver, "write")


def main(*folders: str) -> None:
    """Take all pictures."""
    paths = [Path(folder).resolve() for folder in folders]
    runs = [path.name for path in paths]
    several = "&".join(f"run={name}" for name in runs[:3])
    with served(paths[0].parent) as address:
        driver = browser()
        try:
            write(driver, address, runs)
            shown(driver, address, f"look?idea=attention&run={runs[0]}", DRAWN)
            save(driver, "look", 1240)
            shown(driver, address, f"look?{several}&text=ROMEO: But soft, what light", DRAWN)
            save(driver, "families", 1000)
            shown(driver, address, f"train?run={runs[0]}", "document.querySelector('.plot canvas')")
            save(driver, "train")
            shown(driver, address, f"compare?{several}", "document.querySelector('.plot canvas')")
            save(driver, "compare")
        finally:
            driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
