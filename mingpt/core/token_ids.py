"""Token ids, as tokenizers make them and models take them."""

from typing import Any

import numpy.typing as npt

Ids = npt.NDArray[Any]  # one axis, the smallest unsigned type that holds the vocabulary
