"""Untrusted files: what is rejected, for which reason, and what is read."""

import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mingpt.core import safe_parsing
from mingpt.core.safe_parsing import (
    HEADER_BYTES,
    LINE_BYTES,
    Count,
    Many,
    Number,
    each_object,
    fault,
    parse_json,
    parse_yaml,
    read_at_most,
    read_objects,
    read_svg,
    require_modest_header,
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: &x 1\nb: *x", "an alias"),
        (b"!!python/object/apply:os.getcwd []", "not YAML"),
        (b"\xff", "not UTF-8"),
        (b"a: [1", "not YAML"),
        (b"#" * ((1 << 20) + 1), "at most 1,048,576"),
    ],
)
def test_yaml_that_is_not_plain_is_rejected(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_yaml(content)


def test_plain_yaml_and_json_are_read() -> None:
    assert parse_yaml(b"a: [1, 2.5, true]") == {"a": [1, 2.5, True]} == parse_json(b'{"a": [1, 2.5, true]}')


def test_json_that_is_nested_too_deeply_is_no_crash() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        parse_json(b"[" * 100_000)


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [
        (1, Count, True),
        (-1, Count, False),
        (2**63, Count, False),
        (True, Count, False),
        (1.0, Count, False),
        (1, Number, True),
        ("1", Number, False),
        ([1, 2], Many[Count], True),
        ([1, "2"], Many[Count], False),
    ],
    ids=str,
)
def test_kinds_are_strict(value: Any, kind: Any, right: bool) -> None:
    assert (fault(value, kind) is None) is right


def test_file_is_read_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_at_most(5, path) == b"12345"
    with pytest.raises(ValueError, match="5 bytes; at most 4"):
        read_at_most(4, path)


def test_file_that_is_longer_than_its_size_says_is_rejected() -> None:
    with pytest.raises(ValueError, match="more than the 0 bytes"):
        read_at_most(100, Path("/proc/self/status"))


def test_pipe_is_rejected_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    opened = threading.Thread(target=lambda: open(tmp_path / "pipe", "wb").close(), daemon=True)
    opened.start()  # so that a reader would not wait for ever
    for read in (lambda path: read_at_most(9, path), lambda path: list(each_object(path)), read_objects):
        with pytest.raises(ValueError, match="no ordinary file"):
            read(tmp_path / "pipe")
    opened.join(0.2)
    assert opened.is_alive()  # the other end was not opened
    os.close(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    opened.join(10)


def test_last_line_may_be_cut_short_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n{"a":')
    assert list(each_object(path)) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a":\n{"a": 3}\n')
    with pytest.raises(ValueError, match="line 2: not JSON"):
        list(each_object(path))
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(ValueError, match="line 2: it must be"):
        list(each_object(path, dict[str, int]))


def test_line_is_read_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    full = '{"a": "' + "x" * (LINE_BYTES - 10) + '"}\n'
    path.write_text(full)
    assert len(full) == LINE_BYTES
    assert len(list(each_object(path))) == 1
    path.write_text("x" * 20 * LINE_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"line 1: 1,048,577 bytes; at most 1,048,576"):
            list(each_object(path))
        assert tracemalloc.get_traced_memory()[1] < 8 * LINE_BYTES
    finally:
        tracemalloc.stop()


def test_values_are_counted_over_all_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_parsing, "LINES_VALUES", 9)
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 3)  # three values each
    assert len(read_objects(path)) == 3
    path.write_text('{"a": 1}\n' * 4)
    with pytest.raises(ValueError, match="more than 9 values"):
        read_objects(path)


def test_picture_is_its_folders_own_and_svg(tmp_path: Path) -> None:
    own = tmp_path / "record"
    own.mkdir()
    (own / "a.svg").write_bytes(b"<svg/>")
    assert read_svg(own / "a.svg", own) == b"<svg/>"
    (tmp_path / "private.svg").write_bytes(b"<svg/>")
    (own / "b.svg").symlink_to(tmp_path / "private.svg")
    with pytest.raises(ValueError, match="a link"):
        read_svg(own / "b.svg", own)
    (own / "c.svg").write_bytes(b"private")
    with pytest.raises(ValueError, match="no SVG"):
        read_svg(own / "c.svg", own)


@pytest.mark.parametrize(("length", "modest"), [(HEADER_BYTES, True), (HEADER_BYTES + 1, False), (2**63, False)])
def test_safetensors_header_has_a_limit(length: int, modest: bool) -> None:
    start = length.to_bytes(8, "little") + b"{}"
    if modest:
        require_modest_header(start)
    else:
        with pytest.raises(ValueError, match="at most"):
            require_modest_header(start)
