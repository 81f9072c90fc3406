"""The classes of transformers that compute what models of ours do, in the order in which they are tried."""

from mingpt.interop.architectures import gpt2, gpt_neo, llama  # noqa: F401 - they register what they hold
from mingpt.interop.architectures.base import ARCHITECTURES as ARCHITECTURES
from mingpt.interop.architectures.base import Architecture as Architecture
from mingpt.interop.architectures.base import architecture_of as architecture_of
from mingpt.interop.architectures.base import spelled as spelled
