"""What is compiled and what is not; and compiling that can't stop a pass: a piece that the compiler fails on runs as it
is written, and is told of.

PyTorch's own compiling raises in the middle of a pass, forward or backward, while other processes may wait for this
one's part of an exchange.
"""

import copy
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.fx import GraphModule

Piece = Callable[..., Any]
Given = ParamSpec("Given")
Made = TypeVar("Made")


def uncompiled(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Decorator: keep `function` out of compiled graphs, as `torch.compiler.disable` does.

    That one imports PyTorch's compiler where it is written, a second or more; this one waits until something else has.
    """
    apart = _disable_dynamo(function)

    @functools.wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        return (apart if "torch._dynamo" in sys.modules else function)(*args, **kwargs)

    return call


class Compiler:
    """Compiles callables by torch.compile's usual way (inductor).

    Attributes:
        failed: what kind of error each piece met that runs uncompiled; more may come as calls meet new shapes.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []

    def compiled(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, to be compiled when it is called."""
        made: Callable[..., Any] = torch.compile(call, backend=self._whole)
        return made

    def _whole(self, graph: GraphModule, inputs: Sequence[Tensor]) -> Piece:
        """What torch.compile asks a backend: `graph` as something that is called like it."""
        from torch._inductor.compile_fx import compile_fx  # seconds, and only where something is compiled

        return self._tried(compile_fx, graph, inputs, inner_compile=self._pass) or graph.forward

    def _pass(self, graph: GraphModule, inputs: Sequence[Any], **how: Any) -> Piece:
        """The same of a forward or a backward pass, which is called with a list and empties it."""
        from torch._inductor.compile_fx import compile_fx_inner

        as_written = copy.deepcopy(graph)  # the compiler changes what it is given
        return self._tried(compile_fx_inner, graph, inputs, **how) or _emptying(as_written)

    def _tried(self, compiler: Callable[..., Any], *given: Any, **how: Any) -> Any:
        try:
            return compiler(*given, **how)
        except Exception as error:  # a compiler may fail in any way
            self.failed.append(type(error).__name__)
            return None


def _emptying(graph: GraphModule) -> Piece:
    from torch._functorch._aot_autograd.utils import make_boxed_func

    boxed: Piece = make_boxed_func(graph.forward)
    return boxed
