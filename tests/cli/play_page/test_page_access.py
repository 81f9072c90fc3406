"""The page itself: small, nothing from elsewhere, usable by keyboard and screen reader, closed without the key."""

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import KEYS, Page, chromium

STATIC = Path(__file__).parents[3] / "mingpt" / "cli" / "play" / "static"
MOST_BYTES = 300_000
SCHEMES = {"light": False, "dark": True}
VIEWS = {
    "write": ("write?run=gpt&max_new_tokens=40", ".tok"),
    "write-two": ("write?run=plain&run=lstm", ".nextbar"),
    "look": ("look?idea=attention&run=gpt&run=lstm&text=ROMEO", ".map-dependency"),
    "train": ("train?run=plain", ".setting"),
    "compare": ("compare", ".plot canvas"),
}
READABLE = 4.5  # contrast of text, WCAG AA


def palettes() -> dict[str, dict[str, str]]:
    """The colours of each scheme by their names."""
    blocks = re.findall(r":root \{(.*?)\n\s*\}", (STATIC / "app.css").read_text(encoding="utf-8"), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": dark}


def contrast(a: str, b: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_whole_page_is_small_and_has_no_address_of_another_site() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    own = [path for path in files if "vendor" not in path.parts and path.suffix in {".js", ".css", ".html"}]
    found = {path.name: re.findall(r"https?://[^\s\"')]+", path.read_text(encoding="utf-8")) for path in own}
    assert {name: urls for name, urls in found.items() if urls} == {"dom.js": ["http://www.w3.org/2000/svg"]}
    assert (STATIC / "vendor" / "LICENSE").is_file()


def test_page_has_no_inline_code_and_sets_no_markup_from_text() -> None:
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html)
    for path in STATIC.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source), (
            path
        )
        assert len(source.splitlines()) < 300, path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_of_every_surprise_can_be_read(scheme: str) -> None:
    colours = palettes()[scheme]
    grounds = [*(f"s{level}" for level in range(1, 8)), "panel", "bg", "sunk", "soft"]
    assert {ground: contrast(colours["ink"], colours[ground]) > READABLE for ground in grounds} == dict.fromkeys(
        grounds, True
    )
    for ground in ("panel", "bg", "sunk", "soft"):
        assert contrast(colours["muted"], colours[ground]) > READABLE
        assert contrast(colours["accent"], colours[ground]) > READABLE
    levels = [contrast(colours["panel"], colours[f"s{level}"]) for level in range(1, 8)]
    assert levels == sorted(levels)  # stronger is further from the ground, whatever colours an eye tells apart


@pytest.mark.full
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_and_no_view_is_wider_than_its_window(
    server: str, scheme: str, width: int, loaded: Any
) -> None:
    axe = pytest.importorskip("axe_core_python.selenium", reason="needs axe-core-python")
    driver = chromium(width, 844, dark=SCHEMES[scheme])
    try:
        page = Page(driver, server)
        for name, (view, ready) in VIEWS.items():
            page.open(view)
            if name == "write":
                page.write()
                page.click(".tok:not(.given)", 5)
            page.until(lambda ready=ready: page.all(ready))
            found = axe.Axe().run(driver)["violations"]
            serious = [
                (name, each["id"], [node["html"][:120] for node in each["nodes"]][:3])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == []
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, name
        assert page.problems() == []
    finally:
        driver.quit()


@pytest.mark.full
def test_views_are_reached_by_keyboard(page: Page) -> None:
    page.open("write")
    page.driver.execute_script("document.getElementById('tab-write').focus()")
    for view in ("look", "train", "compare"):
        page.press(KEYS.ARROW_RIGHT)
        page.until(lambda view=view: page.one(f"#{view}").is_displayed())
        assert page.driver.switch_to.active_element.get_attribute("id") == f"tab-{view}"
        assert f"#{view}" in page.driver.current_url
    page.driver.back()
    page.until(lambda: page.one("#train").is_displayed())


@pytest.mark.full
def test_key_leaves_the_address_and_reloading_works(page: Page) -> None:
    page.open("compare")
    assert "token" not in page.driver.current_url
    page.driver.refresh()
    page.until(lambda: page.all(".compare tbody tr"))


@pytest.mark.full
def test_wrong_key_shows_nothing_of_a_run(server: str, browser: Any) -> None:
    page = Page(browser, server)
    browser.get(re.sub(r"\?.*", "", server))
    browser.execute_script("sessionStorage.setItem('chargpt-token', 'wrong')")
    browser.get("about:blank")
    browser.get(re.sub(r"\?.*", "", server))
    page.until(lambda: "printed in the terminal" in page.text("#notice"))
    assert page.all("table, .tok, option") == []
    browser.execute_script("sessionStorage.clear()")
    browser.get_log("browser")
