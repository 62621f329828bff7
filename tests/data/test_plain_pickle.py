"""A pickle may describe data; nothing in it is ever run."""

from __future__ import annotations

import os
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i.data.plain_pickle import read_plain_pickle
from i2i.errors import DataError


class _Calls:
    """Pickled, it asks for `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._wanted = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._wanted


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_of_bytes_and_plain_containers_come_back(protocol: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12), np.uint8)
    value = {"data": pixels, "labels": [1, 2, 300, -4], "name": "x", "more": ({"a": None}, 2.5, True)}
    read = read_plain_pickle(pickle.dumps(value, protocol), "file")
    assert np.array_equal(read.pop("data"), pixels)
    del value["data"]
    assert read == value
    columns = read_plain_pickle(pickle.dumps({"data": np.asfortranarray(pixels)}, protocol), "file")["data"]
    assert np.array_equal(columns, pixels)


def test_the_published_dialect() -> None:
    """Python 2's second protocol, with NumPy's old module names and byte strings."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(b"abcdef") + b"tb"
    )
    content = b"\x80\x02}q\x01(" + text(b"data") + array + text(b"labels") + b"](K\x06K\x09eu."
    read = read_plain_pickle(content, "file")
    assert read[b"labels"] == [6, 9]
    assert np.array_equal(read[b"data"], np.frombuffer(b"abcdef", np.uint8).reshape(2, 3))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (eval, ("open({!r}, 'w')",)),
        (exec, ("open({!r}, 'w')",)),
        (open, ("{}", "w")),
        (os.mkdir, ("{}",)),
        (Path.touch, (Path("{}"),)),
        (np.fromfile, ("{}",)),
        (getattr, ("", "join")),
        (__import__, ("os",)),
        (bytearray, (10**12,)),
    ],
)
def test_anything_else_is_refused_by_name_and_never_run(
    tmp_path: Path, function: Any, arguments: tuple[Any, ...], protocol: int
) -> None:
    trace = tmp_path / "trace"
    filled = [
        part.format(str(trace)) if isinstance(part, str) else Path(str(trace)) if isinstance(part, Path) else part
        for part in arguments
    ]
    content = pickle.dumps({"data": [_Calls(function, *filled)]}, protocol)
    with pytest.raises(DataError, match=r"^batch: wants to use [\w.]+, which no set of pictures needs") as caught:
        read_plain_pickle(content, "batch")
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_the_malicious_names_are_said() -> None:
    content = pickle.dumps(_Calls(os.system, "true"), 2)
    with pytest.raises(DataError, match=r"wants to use (posix|nt)\.system, which"):
        read_plain_pickle(content, "batch")
    with pytest.raises(DataError, match=r"wants to use builtins\.eval, which"):
        read_plain_pickle(b"cbuiltins\neval\n(S'1'\ntR.", "batch")
    with pytest.raises(DataError, match="wants to use an object outside the file"):
        read_plain_pickle(b"Psomething\n.", "batch")


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR.",  # an array of contents that are nowhere
        b"cnumpy\nndarray\n(I1\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"c_codecs\nencode\n(N}S'__code__'\nK\x01stb.",  # what stands for a function cannot be tampered with
        b"cnumpy\nndarray\n(N}S'__call__'\nK\x01stb.",
        b"r\xff\xff\xff\x7f.",  # a memo of 2 billion places
        b"]r\xff\xff\xff\x7f.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R.",  # an array that is never filled
    ],
)
def test_tricks_are_damage(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^batch: is damaged, cannot be read"):
        read_plain_pickle(content, "batch")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, object), np.zeros(3, "U5"), np.zeros(3, np.int64)])
def test_arrays_of_anything_but_bytes_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"is damaged, .*an array of (anything but bytes|an unknown layout)"):
        read_plain_pickle(pickle.dumps({"data": array}, 2), "batch")


def test_an_array_is_as_large_as_its_contents() -> None:
    content = pickle.dumps(np.zeros((2, 3), np.uint8), 2)
    assert content.count(b"K\x02K\x03") == 1
    with pytest.raises(DataError, match="is damaged"):
        read_plain_pickle(content.replace(b"K\x02K\x03", b"K\x02K\x04"), "batch")


def test_mutilated_pickles_end_in_data_errors_alone() -> None:
    value = {b"data": np.arange(60, dtype=np.uint8).reshape(5, 12), b"labels": list(range(5)), b"names": [b"a", b"b"]}
    original = pickle.dumps(value, 2)
    rng = random.Random(2)
    refused = 0
    for _ in range(400):
        content = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        try:
            read_plain_pickle(bytes(content), "batch")
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 150


def test_a_length_that_is_not_there_reserves_no_memory() -> None:
    for opcode in (b"B", b"X", b"T"):
        with pytest.raises(DataError, match="is damaged"):
            read_plain_pickle(opcode + struct.pack("<I", 0x7FFFFFFF) + b"abc.", "batch")
