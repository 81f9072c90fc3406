"""Trained models in memory: the few that were used last, each as its newest checkpoint has it."""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from mingpt.inference.generate import draws
from mingpt.inference.sampling_config import Sampling
from mingpt.runs import checkpoint, run
from mingpt.runs.trained_run import Run

MOST = 4  # models in memory

Key = tuple[Path, int]


class Models:
    """Runs by folder; loaded by a thread of its own, so that loading keeps no other request waiting.

    Args:
        device: where models compute.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._loaded: OrderedDict[Key, asyncio.Future[Run]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loading")

    async def of(self, folder: Path) -> Run:
        """Return the run in `folder`.

        Raises:
            CheckpointError: no run there, or none of its checkpoints is valid.
        """
        key = folder, max(checkpoint.steps(folder), default=-1)
        if key not in self._loaded:
            for old in [each for each in self._loaded if each[0] == folder]:
                del self._loaded[old]
            loop = asyncio.get_running_loop()
            self._loaded[key] = loop.run_in_executor(self._thread, self._load, folder)
        self._loaded.move_to_end(key)
        while len(self._loaded) > MOST:
            self._loaded.popitem(last=False)
        try:
            return await asyncio.shield(self._loaded[key])
        except Exception:
            self._loaded.pop(key, None)  # it may be mended
            raise

    def _load(self, folder: Path) -> Run:
        loaded = run.load(folder, device=self._device)
        if loaded.model.autoregressive:  # the first step of a model takes longer than others
            next(draws(loaded.model, torch.zeros(1, 1, dtype=torch.long), 1, Sampling()))
        return loaded

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
