"""`chargpt play`: where it listens, what it prints, how it ends; and the same page from a notebook."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mingpt
from mingpt.cli.play import catalogue, ports, serving
from mingpt.core.errors import UsageError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_port_that_is_taken_is_rejected_where_it_was_asked_for(taken: int) -> None:
    with pytest.raises(UsageError, match=f"port={taken}: another program listens there"):
        ports.listening("127.0.0.1", taken)


def test_next_free_port_is_taken_where_none_was_asked_for(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "USUAL", taken)
    with ports.listening("127.0.0.1", None) as found:
        assert taken < found.getsockname()[1] < taken + ports.TRIED


def test_address_can_be_opened(client: Any) -> None:
    with urllib.request.urlopen(client.page.url) as found:
        assert b"<title>chargpt play</title>" in found.read()


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_address_that_others_reach_is_known(serve: Any, root: Path, host: str, loopback: bool) -> None:
    with serve(root, host=host) as client:
        assert client.page.loopback is loopback
        assert client.get("state").status == 200


def test_run_that_is_none_is_one_line_with_the_nearest(chargpt: Any, root: Path) -> None:
    ended = chargpt("play", str(root / "gtp"), f"--root={root}", "--open=False")
    assert ended.code == 4
    assert "no run here" in ended.refusal
    assert "did you mean" in ended.refusal
    assert "gpt" in ended.refusal.partition("did you mean")[2]


def test_run_outside_of_the_root_is_rejected(chargpt: Any, root: Path, tmp_path: Path) -> None:
    ended = chargpt("play", str(root / "gpt"), f"--root={tmp_path}", "--open=False")
    assert (ended.code, "not below --root=" in ended.refusal) == (2, True)


@pytest.mark.full
def test_root_is_where_the_runs_lie_unless_it_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert catalogue.opened(None, ["out/gpt", "out/lstm"]).chosen == ["gpt", "lstm"]
    monkeypatch.chdir("/")
    found = catalogue.opened(None, [str(root / "gpt"), str(root / "more/ngram")])
    assert (found.root, found.chosen) == (root, ["gpt", "more/ngram"])


@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_it_with_its_exit_code_while_streams_are_open(root: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "mingpt", "play", str(root / "gpt"), "--open=False", "--port=0", "--host=0.0.0.0"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(mingpt.__file__).parents[1]
    )
    assert started.stdout
    url = started.stdout.readline().strip()
    token = url.partition("token=")[2]
    asked = urllib.request.Request(f"{url.partition('?')[0]}api/follow?name=gpt", headers={"X-Token": token})
    with urllib.request.urlopen(asked) as events:
        assert events.readline() == b"event: metrics\n"
        started.send_signal(number)
        _, said = started.communicate(timeout=20)
    assert started.returncode == code
    assert said.startswith("warning: host=0.0.0.0: other machines can reach this page")
    assert "Traceback" not in said


@pytest.mark.full
def test_notebook_shows_the_page_in_a_frame(root: Path) -> None:
    page = mingpt.play(root / "gpt", port=0, height=500)
    try:
        assert f'<iframe src="{page.url}"' in page._repr_html_()
        assert 'height="500"' in page._repr_html_()
        with urllib.request.urlopen(page.url) as found:
            assert (
                "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"
                in found.headers["content-security-policy"]
            )
    finally:
        page.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(page.url)


def test_browser_is_opened_by_an_address_without_the_token(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(serving.webbrowser, "open", opened.append)
    client.page.open()
    while not opened:
        pass
    assert opened == [f"{client.page.base}open?once={client.page.once}"]
    assert client.token not in opened[0]
