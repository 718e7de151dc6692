"""Tensors of PyTorch in another dtype that take no memory. It needs the extra `torch`."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_map_only

EMBEDDING = torch.ops.aten.embedding.default


class Converted(torch.Tensor):
    """A tensor in another dtype, times a factor. Its numbers are made anew whenever they are used.

    So a module in double precision holds no second copy of its weights. Of a table, only the rows
    that are looked up are made. What an operation changes in place is kept from then on.
    """

    source: torch.Tensor
    factor: float

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, source: torch.Tensor, dtype: torch.dtype, factor: float = 1.0) -> Self:
        """A tensor without memory, of the shape and on the device of another."""
        made: Self = torch.Tensor._make_wrapper_subclass(
            cls, source.shape, strides=source.stride(), dtype=dtype, device=source.device
        )
        made.source, made.factor = source, factor
        return made

    def made(self) -> torch.Tensor:
        """The numbers in the dtype that was asked for."""
        converted = self.source.to(self.dtype)
        return converted if self.factor == 1 else converted * self.factor

    def numpy(self, *, force: bool = False) -> NDArray[Any]:
        """The numbers as an array."""
        array: NDArray[Any] = self.made().numpy(force=force)
        return array

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do an operation with the numbers."""
        first, kwargs = args[0] if args else None, kwargs or {}
        if func is torch.ops.aten.detach.default:
            return first
        if func is EMBEDDING and isinstance(first, cls):
            rows = func(first.source, *args[1:], **kwargs)
            return cls(rows, first.dtype, first.factor).made()
        if func._schema.is_mutable and isinstance(first, cls):
            first.source, first.factor = first.made(), 1.0
        args, kwargs = tree_map_only(cls, cls.made, (args, kwargs))
        return func(*args, **kwargs)
