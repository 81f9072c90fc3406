"""Pages in a real browser: none is wider than a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mingpt.report import index, page
from mingpt.report.compare import comparison
from mingpt.report.pictures import loss_figures

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


MEASURE = """<body><iframe style="width:390px;height:2000px;border:0"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, wide = page.documentElement.scrollWidth;
  const figure = page.querySelector("svg, img").getBoundingClientRect();
  const cells = [...page.querySelectorAll("td, th")].map(cell => cell.getBoundingClientRect().width);
  const sizes = [figure.width, figure.height, Math.max(0, ...cells)].map(Math.round);
  document.title = ["measured", wide, ...sizes].join(" ");
};
frame.srcdoc = CONTENT;
</script>"""


def measured_on_a_phone(content: str, tmp_path: Path) -> tuple[int, int, int, int]:
    """The page's width, its first figure's width and height, its widest cell's width, in pixels of a frame 390 wide."""
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.replace("CONTENT", json.dumps(content).replace("</", "<\\/")), encoding="utf-8")
    call = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    call += [f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"<title>measured (\d+) (\d+) (\d+) (\d+)</title>", ended.stdout)
    assert found, ended.stderr[-500:]
    wide, width, height, cell = map(int, found.groups())
    return wide, width, height, cell


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.full
def test_page_is_no_wider_than_a_phone(make_run: Any, tmp_path: Path) -> None:
    long = "model.a_setting_with_a_long_name=" + "x" * 150
    result = comparison({long: [make_run("y" * 200, sample="z" * 900)], "b": [make_run("b", rope=True)]})
    part = page.Part(title=long, answer=long, commands=[long], result=result, figures=loss_figures(result))
    content = page.render("page.html", page=page.Page(title=long, parts=[part]))
    wide, width, height, cell = measured_on_a_phone(content.replace("<details>", "<details open>"), tmp_path)
    assert wide <= 390
    assert 100 < cell < 250  # a name wraps; an estimate with its interval, which may not, is the widest
    assert 300 < width <= 390
    assert 0.25 < height / width < 1.2


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.full
def test_index_is_no_wider_than_a_phone(experiment_folder: Path, tmp_path: Path) -> None:
    record = json.loads((experiment_folder / "record.json").read_text())
    long = {"question": "y" * 300, "answer": "model.a_setting=" + "x" * 300}
    (experiment_folder / "record.json").write_text(json.dumps({**record, **long}))
    index.write(experiment_folder.parent)
    index.write_pages(experiment_folder.parent)
    content = (experiment_folder.parent / "index.html").read_text(encoding="utf-8")
    wide, width, height, _ = measured_on_a_phone(content, tmp_path)
    assert wide <= 390
    assert 280 < width <= 390
    assert 0.25 < height / width < 1.2
