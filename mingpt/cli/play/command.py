"""`chargpt play`: checks what was asked for, then serves the page until a signal ends it."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mingpt.cli.play import catalogue, ports
from mingpt.core.command_line import split_words
from mingpt.core.config_cli import options_of
from mingpt.core.errors import require
from mingpt.core.system_config import DEVICES
from mingpt.core.variants import check_choices, choice


@dataclass(frozen=True, kw_only=True)
class PlayOptions:
    """Serve a page that shows trained models at work.

    Attributes:
        root: the folder below which runs are shown; null: out/, or where the runs that are named lie
        train: let the page start, stop and resume training; False: it reads only
        open: open the page in the browser, where there is a screen
        host: where to listen; any other than this machine's own lets others in who know the address
        port: 0: any that is free; null: 8642, or the next that is free
        device: where to compute
    """

    root: str | None = None
    train: bool = False
    open: bool = True
    host: str = "127.0.0.1"
    port: int | None = None
    device: str = choice("auto", DEVICES)

    def __post_init__(self) -> None:
        check_choices(self, "")
        require(self.root != "", "root", "''", "must name a folder, or be null")
        require(self.host != "", "host", "''", "must name an address, as 127.0.0.1")
        require(self.port is None or 0 <= self.port < 1 << 16, "port", self.port, "must be in [0, 65535], or null")


def has_screen() -> bool:
    """Whether a browser would open a window; without a screen it may be one that takes the terminal."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in named)


def play(argv: Sequence[str]) -> int:
    """Run `chargpt play [RUN [RUN2]] [--root=FOLDER] [--train=True] ...`; returns the exit code."""
    runs, flags = split_words(argv, bare=("--train", "--open"))
    options = options_of("chargpt play [RUN [RUN2]]", "Show trained models at work.", PlayOptions, flags)
    found = catalogue.opened(options.root, runs)
    listens = ports.listening(options.host, options.port)

    from mingpt.cli.play import server, serving  # and with them PyTorch, which takes seconds
    from mingpt.utils import pick_device

    device = str(pick_device(options.device, "device"))
    page = serving.Page(server.Play(found, train=options.train, device=device), listens, options.host)
    if not page.loopback:
        warning = "other machines can reach this page; who has its address can use it, and the connection is not secret"
        print(f"warning: host={options.host}: {warning}", file=sys.stderr)
    print(f"{page.url}\nends with Ctrl-C", flush=True)
    if options.open and has_screen():
        page.open()
    return serving.until_signal(page)
