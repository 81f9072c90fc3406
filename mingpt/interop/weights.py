"""Where each of our layers lies in a model of theirs, and tensors from one to the other without a rounding.

A `Place` says it for one layer; `{}` stands for the number of a block.  What a class of theirs always has and a model
of ours has not is a bias of zeros, which computes the same.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("weight", "bias")


class Place(NamedTuple):
    """Where one of our layers lies in theirs: all of a layer, or one of equal slices of its outputs.

    Attributes:
        layer: its name there.
        part: which slice, from 0.
        parts: slices that there are.
        turned: whether its weight is kept (in, out) there, not (out, in).
        biased: whether it has a bias there, even where ours has none.
    """

    layer: str
    part: int = 0
    parts: int = 1
    turned: bool = False
    biased: bool = False


Places = Mapping[str, Place]


def numbered(places: Places, n_layer: int) -> dict[str, Place]:
    """Our layer -> theirs, with every block's number."""
    return {
        ours.format(i): place._replace(layer=place.layer.format(i))
        for ours, place in places.items()
        for i in range(n_layer if "{}" in ours else 1)
    }


def as_theirs(places: Places, n_layer: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights, or gradients, under their names and in their shapes; where they must have a bias, zeros."""
    slices: dict[str, list[Tensor]] = {}
    turned: set[str] = set()
    for ours, place in sorted(numbered(places, n_layer).items(), key=lambda item: item[1]):
        for kind in KINDS:
            tensor = tensors.get(f"{ours}.{kind}")
            if tensor is None and place.biased and f"{ours}.weight" in tensors:
                weight = tensors[f"{ours}.weight"]
                tensor = weight.new_zeros(weight.shape[:1])
            if tensor is None:
                continue
            slices.setdefault(f"{place.layer}.{kind}", []).append(tensor)
            if place.turned and tensor.ndim == 2:
                turned.add(f"{place.layer}.{kind}")
    whole = {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in slices.items()}
    return {name: tensor.mT.contiguous() if name in turned else tensor for name, tensor in whole.items()}


def as_ours(places: Places, n_layer: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back: their weights, or gradients, under our names and in our shapes."""
    found = {}
    for ours, (layer, part, parts, turned, _) in numbered(places, n_layer).items():
        for kind in KINDS:
            tensor = tensors.get(f"{layer}.{kind}")
            if tensor is not None:
                upright = tensor.mT if turned and tensor.ndim == 2 else tensor
                found[f"{ours}.{kind}"] = upright.chunk(parts)[part].contiguous()
    return found
