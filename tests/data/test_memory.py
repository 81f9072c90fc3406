"""What a long text costs until its first batch: a few times its file."""

import tracemalloc
from pathlib import Path

import pytest

from mingpt.data.data_config import DataConfig
from mingpt.data.dataset import prepare


@pytest.mark.parametrize("line", ["plain ascii text\n", "Привет, мир 🤗\n", "no line ends here. "])
@pytest.mark.parametrize("size", [8_000_000, pytest.param(50_000_000, marks=pytest.mark.slow)])
@pytest.mark.thin(1)
def test_text_costs_at_most_eight_times_its_file(tmp_path: Path, line: str, size: int) -> None:
    content = line.encode() * (size // len(line.encode()))
    (tmp_path / "long.txt").write_bytes(content)
    length = len(content)
    del content
    tracemalloc.start()
    try:
        corpus = prepare(DataConfig(path=str(tmp_path / "long.txt")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(corpus.data.train) > size // 50
    assert peak <= 8 * length
