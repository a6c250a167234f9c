"""Putting named tensors into a module, or saying exactly what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from streamer.errors import CheckpointError

M = TypeVar("M", bound=nn.Module)

_SHOWN = 4


class Undrawn(TorchFunctionMode):
    """Modules made within get no first weights: their memory is reserved, but nothing is written to it.

    Torch's own way, the device `meta`, takes a second to import what it needs.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave out what would draw or set a parameter's values."""
        del types
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__ or func is Tensor.normal_:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def fill(make: Callable[[], M], tensors: Mapping[str, Tensor], where: str | Path, advice: str) -> M:
    """A module made without weights, with these as its own (float32, evaluation mode).

    Raises CheckpointError where a name is missing or unexpected or a shape differs; `advice` ends the
    message.
    """
    with Undrawn():
        module = make()
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = [f"{name} {wanted[name]}" for name in wanted if name not in tensors]
    unexpected = [f"{name} {tuple(tensors[name].shape)}" for name in tensors if name not in wanted]
    shapes = [
        f"{name} as {shape}, found {tuple(tensors[name].shape)}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = [
        f"{what} {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("expected", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(f"{where}: the tensors are not the model's: {'; '.join(problems)}. {advice}")
    module.load_state_dict({name: tensors[name].float() for name in wanted}, assign=True)
    return module.eval().requires_grad_(False)


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
