"""Reading a pickle of arrays and plain containers without running anything that is in it.

A pickle is a program. Here it may build lists, dictionaries, texts and numbers, and say what an array consists of;
the few names that a NumPy array needs stand for records of our own, never for NumPy's functions. Every other name
is refused before anything of that name is looked up.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from i2i.errors import DataError

_ERRORS = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What reading a mutilated pickle raises."""


def read_plain_pickle(content: bytes, name: str) -> Any:
    """The value of a pickle, texts of Python 2 as bytes, arrays of bytes (uint8) as NumPy arrays.

    Args:
        content: the pickle.
        name: of the file, for errors.

    Raises:
        DataError: it is damaged, or would call or build anything else.
    """
    try:
        _check_memo(content)
        value = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
        return _with_arrays(value)
    except _Refused as refusal:
        raise DataError(
            f"{name}: wants to use {refusal}, which no set of pictures needs - do not use this file"
        ) from refusal
    except _ERRORS as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{name}: is damaged, cannot be read ({reason}) - get the file anew") from error


class _Refused(Exception):  # noqa: N818 - it carries a name to the error that is raised
    """The name of something that a pickle asked for and does not get."""


class _ElementType:
    """Stands for numpy.dtype: which kind of number an array holds."""

    def __init__(self, code: object, *rest: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        # Byte order and the like, without meaning for single bytes.
        pass


class _Array:
    """Stands for an array that is being rebuilt, and keeps what it is to consist of."""

    def __init__(self, *described: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if it is one of bytes whose size is as described."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without contents")
        _, shape, element, column_order, content = self.state
        if not isinstance(element, _ElementType) or element.code not in (b"u1", "u1"):
            raise ValueError("an array of anything but bytes")
        if not isinstance(content, bytes) or not isinstance(shape, tuple) or column_order not in (False, 0, True, 1):
            raise ValueError("an array of an unknown layout")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("an array of an impossible shape")
        array = np.frombuffer(content, np.uint8)
        return array.reshape(shape, order="F" if column_order else "C")  # which checks the size


class _StandIn:
    """What a pickle gets for a name: it can be called and, unlike a class or function, not be tampered with."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a function cannot be given a state")


def _encode(text: object, codec: object) -> bytes:
    """As codecs.encode, by which Python 3 writes bytes for older readers."""
    if not isinstance(text, str) or codec != "latin1":
        raise ValueError("a text in an unknown encoding")
    return text.encode("latin1")


def _make_nothing(*_: object) -> None:
    raise ValueError("an array that is not rebuilt from its contents")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy", "ndarray"): _StandIn(_make_nothing),
    ("numpy", "dtype"): _StandIn(_ElementType),
    ("_codecs", "encode"): _StandIn(_encode),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        known = _KNOWN.get((module_name, global_name))
        if known is None:
            raise _Refused(f"{module_name}.{global_name}"[:200])
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("an object outside the file")


def _check_memo(content: bytes) -> None:
    """Refuse a place in the memo that no honest writer would come to: memory is reserved up to it."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise ValueError("a memo of an impossible size")


def _with_arrays(value: Any) -> Any:
    """Arrays in place of their descriptions, in a dictionary's values; deeper ones are not expected."""
    if isinstance(value, dict):
        return {key: item.to_numpy() if isinstance(item, _Array) else item for key, item in value.items()}
    return value.to_numpy() if isinstance(value, _Array) else value
