"""Writes ONNX models: protocol buffers by hand, because a graph of a dozen operators needs no package for it.

Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IR_VERSION = 10
OPSET = 17
CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
_FLOAT, _INT, _INTS = 1, 2, 7
"""AttributeProto.AttributeType."""

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5
"""Wire types."""

Attribute = int | float | Sequence[int]


class Graph:
    """A graph in the making: every method adds to it and returns the name of what it added."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[list[bytes]] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._names = 0

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> str:
        """What a run is given; sizes that vary have names."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: DTypeLike, shape: Sequence[int | str]) -> None:
        """What a run gives back under `name`."""
        self._node("Identity", [value], [name], "", {})
        self._outputs.append(_value(name, dtype, shape))

    def constant(self, array: NDArray[Any]) -> str:
        """A tensor of float32, uint8, int8 or int64."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(_tensor(name, array))
        return name

    def integers(self, *values: int) -> str:
        """A row of int64."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """A standard operator with one output; an input that is left out is empty."""
        return self._op(kind, inputs, 1, "", attributes)[0]

    def split(self, value: str, axis: int, *sizes: int) -> list[str]:
        """Parts of such sizes along an axis."""
        return self._op("Split", [value, self.integers(*sizes)], len(sizes), "", {"axis": axis})

    def top(self, value: str, count: int) -> list[str]:
        """The highest numbers along the last axis, in no order; and where they are."""
        return self._op("TopK", [value, self.integers(count)], 2, "", {"sorted": 0})

    def contrib(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Attribute) -> list[str]:
        """An operator of ONNX Runtime's own."""
        return self._op(kind, inputs, outputs, CONTRIB, attributes)

    def _op(
        self, kind: str, inputs: Sequence[str], count: int, domain: str, attributes: dict[str, Attribute]
    ) -> list[str]:
        outputs = [f"value_{self._names + i}" for i in range(count)]
        self._names += count
        self._node(kind, inputs, outputs, domain, attributes)
        return outputs

    def _node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        domain: str,
        attributes: dict[str, Attribute],
    ) -> None:
        parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs]
        parts += [_text(3, f"{kind}_{len(self._nodes)}"), _text(4, kind)]
        parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join([*parts, _text(7, domain)]))

    def model(self) -> bytes:
        """The ONNX file."""
        graph = [_bytes(1, node) for node in self._nodes] + [_text(2, "streamer")]
        for constant in self._constants:
            graph += _message(5, constant)
        graph += [_bytes(11, value) for value in self._inputs]
        graph += [_bytes(12, value) for value in self._outputs]
        opsets = [_bytes(8, _text(1, domain) + _int(2, n)) for domain, n in (("", OPSET), (CONTRIB, 1))]
        return b"".join([_int(1, IR_VERSION), _text(2, "streamer"), *_message(7, graph), *opsets])


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers are written as two's complement of 64 bits
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH) + _varint(len(content)) + content


def _message(field: int, parts: Sequence[bytes]) -> list[bytes]:
    """`_bytes` of parts that are not joined yet: weights are many megabytes, which are copied only once."""
    return [_varint(field << 3 | _LENGTH) + _varint(sum(map(len, parts))), *parts]


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        content = _varint(2 << 3 | _FIXED32) + np.float32(value).tobytes() + _int(20, _FLOAT)
    elif isinstance(value, int):
        content = _int(3, value) + _int(20, _INT)
    else:
        content = b"".join(_int(8, number) for number in value) + _int(20, _INTS)
    return _text(1, name) + content


def _tensor(name: str, array: NDArray[Any]) -> list[bytes]:
    sizes = b"".join(_int(1, size) for size in array.shape)
    about = sizes + _int(2, _TYPES[array.dtype.name]) + _text(8, name)
    return [about, *_message(9, [array.tobytes()])]


def _value(name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> bytes:
    sizes = [_text(2, size) if isinstance(size, str) else _int(1, size) for size in shape]
    tensor = _int(1, _TYPES[np.dtype(dtype).name]) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))
