"""torch.compile with a fallback to eager execution.

In one process a failure of the compiler raises in the first pass, which is caught.  Several processes need more: a
failure in the middle of a pass would leave the others waiting in a collective, so each graph falls back by itself.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from mingpt.distributed.strategy import ProcessGroup

logger = logging.getLogger(__name__)


def compile_or_fall_back(
    forward: Callable[..., Any], processes: ProcessGroup, try_once: Callable[[Callable[..., Any]], None]
) -> tuple[Callable[..., Any], str | None]:
    """Return `forward` compiled, or `forward` itself and the kind of error if compilation fails in any process.

    Args:
        forward: function to compile
        processes: processes that take the same decision
        try_once: calls the compiled function once, forward and backward
    """
    compiled, failures = processes.compile(forward)
    failed = None
    try:
        try_once(compiled)
    except Exception as error:  # the compiler may fail in any way, and training can do without it
        failed = type(error).__name__
    failed = processes.any_reason(failed or next(iter(failures), None))
    if failed:
        logger.warning(f"torch.compile failed ({failed}); training goes on without it")
    return (forward if failed else compiled), failed


class Compiler:
    """torch.compile with Inductor, where a graph that fails to compile runs eagerly.

    Attributes:
        failed: kinds of errors so far; calls with new shapes may add more
    """

    def __init__(self) -> None:
        self.failed: list[str] = []

    def compiled(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, compiled at its first call."""
        made: Callable[..., Any] = torch.compile(call, backend=self._backend)
        return made

    def _backend(self, graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        """Compile `graph`, or return it as it is; a backend of torch.compile."""
        from torch._inductor.compile_fx import compile_fx  # seconds, and only where something is compiled

        return self._try(compile_fx, graph, inputs, inner_compile=self._compile_pass) or graph.forward

    def _compile_pass(self, graph: GraphModule, inputs: Sequence[Any], **how: Any) -> Callable[..., Any]:
        """Compile one forward or backward graph, which takes a list of inputs and clears it."""
        from torch._inductor.compile_fx import compile_fx_inner

        original = copy.deepcopy(graph)  # the compiler modifies its argument
        return self._try(compile_fx_inner, graph, inputs, **how) or _boxed(original)

    def _try(self, compiler: Callable[..., Any], *given: Any, **how: Any) -> Any:
        try:
            return compiler(*given, **how)
        except Exception as error:  # a compiler may fail in any way
            self.failed.append(type(error).__name__)
            return None


def _boxed(graph: GraphModule) -> Callable[..., Any]:
    from torch._functorch._aot_autograd.utils import make_boxed_func

    boxed: Callable[..., Any] = make_boxed_func(graph.forward)
    return boxed
