"""Archives that should not be trusted: small whole ones of pictures, CIFAR-10 and idx files, and ways to spoil them."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Random = np.random.Generator

SET_NAME = "tiny"
SET_FOLDERS: Mapping[str, int] = {"trainA": 2, "testA": 1}
"""Of the set that `plain_zip` holds: pictures a folder."""
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def _pick(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def picture(seed: int = 0, format: str = "PNG") -> bytes:
    """A small picture file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def damaged(content: bytes, rng: Random) -> bytes:
    """Cut off, with flipped bits, a run overwritten, or a part twice."""
    spoiled = bytearray(content)
    start, end = sorted(rng.integers(0, len(content), 2))
    match int(rng.integers(4)):
        case 0:
            return content[:start]
        case 1:
            for place in rng.integers(0, 8 * len(content), int(2 ** rng.integers(0, 6))):
                spoiled[place // 8] ^= 1 << (place % 8)
        case 2:
            spoiled[start : start + 30] = _pick(rng, [rng.bytes(30), bytes(30), b"\xff" * 30])
        case 3:
            spoiled[end:end] = content[start:end]
    return bytes(spoiled)


# Zips of pictures

Member = tuple[zipfile.ZipInfo, bytes]


def _members() -> list[Member]:
    names = [f"{SET_NAME}/{folder}/{index}.png" for folder, count in SET_FOLDERS.items() for index in range(count)]
    return [_member(name, picture(index)) for index, name in enumerate(names)]


def _member(name: str, content: bytes, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_STORED) -> Member:
    info = zipfile.ZipInfo(name)
    info.filename = name  # the constructor would cut it off at a zero byte
    info.external_attr, info.compress_type = mode << 16, method
    return info, content


def _zipped(members: Sequence[Member], comment: bytes = b"") -> bytes:
    import warnings

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that names are there twice
        archive.comment = comment
        for info, content in members:
            archive.writestr(info, content)
    return buffer.getvalue()


def plain_zip() -> bytes:
    """A whole archive of the set that SET_FOLDERS describes."""
    return _zipped(_members())


def zip_damaged(rng: Random, folder: Path) -> bytes:
    """Any bytes are others."""
    return damaged(plain_zip(), rng)


def zip_escapes(rng: Random, folder: Path) -> bytes:
    """A name leads out of the folder."""
    outside = str(folder / "outside" / "escaped.png")
    name = _pick(
        rng,
        [
            "../escaped.png", f"{SET_NAME}/../../escaped.png", f"{SET_NAME}/trainA/../../../../escaped.png", outside,
            f"/{outside}", "/escaped.png", "\\\\server\\share\\escaped.png", "..\\escaped.png", "C:\\escaped.png",
            "C:escaped.png", "~/escaped.png", "./../escaped.png", f"{SET_NAME}/./../../escaped.png", "..", ".", "/",
            "//", "escaped.png:stream", "\u2025/escaped.png", "../" * 30 + "escaped.png", f"{SET_NAME}/..",
        ],
    )  # fmt: skip
    members = _members()
    members.insert(int(rng.integers(len(members) + 1)), _member(name, picture(9)))
    return _zipped(members)


def zip_links(rng: Random, folder: Path) -> bytes:
    """A member is a link, or another one goes through it; or a device, pipe or socket."""
    target = _pick(rng, [str(folder / "outside"), "../../outside", "/etc/passwd", "/dev/zero", ".", "self.png"])
    kind = _pick(rng, [stat.S_IFLNK, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK])
    name = _pick(rng, [f"{SET_NAME}/trainA/7.png", f"{SET_NAME}/trainB", "link", "self.png"])
    through = _member(f"{name}/escaped.png", picture(9))
    link = _member(name, target.encode(), kind | 0o777)
    return _zipped([link, *_members(), *([through] if rng.random() < 0.5 else [])])


def zip_bomb(rng: Random, folder: Path) -> bytes:
    """Members that unfold to gigabytes, by what they declare or against it; too many; one behind another's back."""
    name = f"{SET_NAME}/trainA/7.png"
    match int(rng.integers(4)):
        case 0:
            zeros = _member(name, bytes(60_000_000), method=zipfile.ZIP_DEFLATED)
            content = _zipped([*_members(), zeros])
            # Declares to be small, in both places.
            size = struct.pack("<I", 60_000_000)
            return content.replace(size, struct.pack("<I", 1000)) if rng.random() < 0.5 else content
        case 1:
            # Deflated, bzip2 and lzma squeeze zeros by a thousand and more.
            method = _pick(rng, [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            return _zipped([*_members(), _member(name, bytes(80_000_000), method=method)])
        case 2:
            many = [_member(f"{SET_NAME}/trainA/{index}.png", b"") for index in range(8000)]
            return _zipped([*_members(), *many])
    return _overlapping(500)


def _overlapping(copies: int) -> bytes:
    """Many names for one packed member, as David Fifield's "A better zip bomb" (2019) begins."""
    content = _zipped([_member(f"{SET_NAME}/trainA/0.png", bytes(4_000_000), method=zipfile.ZIP_DEFLATED)])
    place = content.rindex(b"PK\1\2")
    entry, tail = content[place : content.rindex(b"PK\5\6")], content[content.rindex(b"PK\5\6") :]
    entries = b"".join(entry.replace(b"trainA/0.png", b"trainA/%03d" % index + b".") for index in range(copies))
    end = tail[:8] + struct.pack("<HHII", copies, copies, len(entries), place) + tail[20:]
    return content[:place] + entries + end


def zip_names(rng: Random, folder: Path) -> bytes:
    """Names that are there twice, too long, hard to write down, or a file's and a folder's at once."""
    stem = f"{SET_NAME}/trainA"
    added: list[str] = _pick(
        rng,
        [
            [f"{stem}/0.png"], [f"{stem}/0.PNG", f"{stem}/0.png"], [f"{stem}/0.png/1.png"],
            [f"{stem}", f"{stem}/x.png"],
            ["x" * 300 + ".png"], [f"{'d/' * 2000}x.png"], [f"{stem}/\x1b[2Jx.png"], [f"{stem}/a\nb.png"],
            [f"{stem}/\0x.png"], [f"{stem}/\u202egnp.exe.png"], [f"{stem}/\ud800.png"], [f"{stem}/CON.png"],
            [f"{stem}/x.png."], [f"{stem}/ .png", f"{stem}/.png"], ["manifest.json"],
            [f"{stem}/é.png", f"{stem}/e\u0301.png"],
            [f"{stem}/x.png/"], ["", f"{stem}/y.png"], [f"{stem}//x.png"], [f"{stem}/x.png " ],
        ],
    )  # fmt: skip
    return _zipped([*_members(), *(_member(name.encode(errors="replace").decode(), picture(9)) for name in added)])


def zip_header(rng: Random, folder: Path) -> bytes:
    """A field of a header says something else: size, checksum, method, flags, place, version."""
    content = bytearray(plain_zip())
    signature = _pick(rng, [b"PK\1\2", b"PK\3\4", b"PK\5\6"])
    starts = [index for index in range(len(content)) if content[index : index + 4] == signature]
    place = _pick(rng, starts) + int(rng.integers(4, 46 if signature == b"PK\1\2" else 22))
    value = _pick(rng, [b"\0", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"\x01", b"\x0e", rng.bytes(2), rng.bytes(4)])
    content[place : place + len(value)] = value
    return bytes(content)


ZIPS: dict[str, Callable[[Random, Path], bytes]] = {
    "zip damaged": zip_damaged,
    "zip escapes": zip_escapes,
    "zip links": zip_links,
    "zip bomb": zip_bomb,
    "zip names": zip_names,
    "zip header": zip_header,
}

# CIFAR-10: a tar of pickles


def _batch(seed: int) -> dict[bytes, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 3072), np.uint8)
    return {b"batch_label": b"b", b"labels": [0, 1, 2, 3], b"data": pixels, b"filenames": [b"a", b"b", b"c", b"d"]}


def _batches() -> dict[str, bytes]:
    return {name: pickle.dumps(_batch(index), protocol=2) for index, name in enumerate(BATCHES)}


def _tarred(files: Mapping[str, bytes], extra: Sequence[tuple[tarfile.TarInfo, bytes]] = (), **more: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **more) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info, content in extra:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def plain_cifar() -> bytes:
    """A whole archive with four pictures a batch."""
    return gzip.compress(_tarred(_batches()), 1)


def cifar_damaged(rng: Random, folder: Path) -> bytes:
    """Any bytes are others, of the packed archive or of that within."""
    if rng.random() < 0.5:
        return damaged(plain_cifar(), rng)
    return gzip.compress(damaged(_tarred(_batches()), rng), 1)


def cifar_members(rng: Random, folder: Path) -> bytes:
    """Members that lead out, are links or devices, claim any size, or say too much about themselves."""
    outside = str(folder / "outside" / "escaped")
    name = _pick(
        rng, ["../data_batch_1", outside, f"/{outside}", "a/../../data_batch_2", "data_batch_1", "x" * 5000, ""]
    )
    info = tarfile.TarInfo(name)
    info.type = _pick(
        rng,
        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.REGTYPE,
         tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, b"Z"],
    )  # fmt: skip
    info.linkname = _pick(rng, ["/etc/passwd", "../../outside/decoy", "data_batch_1", outside, "", "x" * 5000])
    if rng.random() < 0.3:
        info.pax_headers = {"path": "../" * 2000 + "escaped", "GNU.sparse.major": "1", "size": str(10**15)}
    files = _batches()
    if rng.random() < 0.3:
        files.pop(_pick(rng, BATCHES))
    format = _pick(rng, [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    content = bytearray(_tarred(files, [(info, b"")], format=format))
    if rng.random() < 0.4:
        # The size field of any member, with a checksum that fits.
        start = 512 * int(rng.integers(len(content) // 512))
        content[start + 124 : start + 136] = _pick(rng, [b"77777777777\0", b"00000000001\0", b"\x80" + b"\xff" * 11])
        content[start + 148 : start + 156] = b" " * 8
        content[start + 148 : start + 155] = b"%06o\0" % (sum(content[start : start + 512]) % 0o1000000)
    return gzip.compress(bytes(content), 1)


def cifar_bomb(rng: Random, folder: Path) -> bytes:
    """Zeros by the hundred million: within a member, as headers, or as members without number."""
    match int(rng.integers(4)):
        case 0:
            zeros = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
            zeros.size = 63 << 20
            return gzip.compress(_tarred({}, [(zeros, bytes(zeros.size))]), 1)
        case 1:
            return gzip.compress(bytes(200_000_000), 1)
        case 2:
            many = [(tarfile.TarInfo(f"{index}"), b"") for index in range(5000)]
            return gzip.compress(_tarred({}, many), 1)
    # A name of a hundred megabytes, as GNU tar allows.
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = _pick(rng, [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE]), 100_000_000
    content = bytearray(long.tobuf(tarfile.GNU_FORMAT)) + b"a" * long.size + bytes(10240)
    return gzip.compress(bytes(content), 1)


class Planted:
    """An object whose unpickling creates a folder."""

    def __init__(self, mark: str, how: Callable[..., Any] = os.mkdir) -> None:
        self.mark, self.how = mark, how

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return self.how, (self.mark,)


def cifar_pickles(rng: Random, folder: Path) -> bytes:
    """A batch is a program, holds other things than it should, or is damaged within a whole archive."""
    batch = _batch(0)
    data = batch[b"data"]
    odd: list[Any] = [
        Planted(str(folder / "sprung")), data.astype(np.float64), data.astype(object), data[:, :100], data.reshape(-1),
        np.zeros((0, 3072), np.uint8), None, [1, 2], {b"a": b"b"}, np.array(["text"]), np.ma.masked_array(data),
        data.view(np.recarray), [0, 1, 2, 99], [0, 1, 2], [True, 1, 2, 3], ["0"] * 4, [10**400] * 4, b"\0\1\2\3",
    ]  # fmt: skip
    batch[_pick(rng, [b"data", b"labels", b"more"])] = _pick(rng, odd)
    content = pickle.dumps(batch, protocol=int(rng.integers(0, 6)))
    if rng.random() < 0.4:
        content = damaged(content, rng) if rng.random() < 0.5 else _pickle_bomb(rng, folder)
    return gzip.compress(_tarred(_batches() | {_pick(rng, BATCHES): content}), 1)


def _pickle_bomb(rng: Random, folder: Path) -> bytes:
    """Few operations that take much, or call something in a roundabout way."""
    mark = str(folder / "sprung").encode()
    return _pick(
        rng,
        [
            b"\x80\x02" + b"r\xff\xff\xff\x7f" + b".",
            b"\x80\x04\x95" + b"\xff" * 8 + b".",
            b"(" * 100_000 + b".",
            b"]" + b"\x94h\0" * 10 + b"\x88" * 5 + b".",
            b"(l" + b"(lp0\n" * 50_000 + b".",
            b"cos\nmkdir\n(S'" + mark + b"'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c" + bytes([len(mark)]) + mark + b"\x85R.",
            b"(S'" + mark + b"'\nios\nmkdir\n.",
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I99999999999\ntcnumpy\ndtype\n"
            b"(S'u1'\nI0\nI1\ntRI00\nS'x'\ntb.",
            b"c__builtin__\neval\n(S'__import__(\"os\").mkdir(\"" + mark + b"\")'\ntR.",
            b"\x80\x02}q\x00" + b"\x8e" + struct.pack("<Q", 2**62) + b".",
            b"I" + b"9" * 100_000 + b"\n.",
            b"L" + b"9" * 5_000 + b"L\n.",
        ],
    )  # fmt: skip


CIFARS: dict[str, Callable[[Random, Path], bytes]] = {
    "cifar damaged": cifar_damaged,
    "cifar members": cifar_members,
    "cifar bomb": cifar_bomb,
    "cifar pickles": cifar_pickles,
}

# idx files of pictures and labels


def plain_idx() -> tuple[bytes, bytes]:
    """Six pictures of 28 x 28, and their labels."""
    pixels = np.random.default_rng(3).integers(0, 256, (6, 28, 28), np.uint8)
    return (
        struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes(),
        struct.pack(">4BI", 0, 0, 8, 1, 6) + bytes([0, 1, 2, 0, 1, 2]),
    )


def _perhaps_packed(content: bytes, rng: Random) -> bytes:
    return gzip.compress(content, 1) if rng.random() < 0.5 else content


def idx_damaged(rng: Random) -> tuple[bytes, bytes]:
    """Any bytes are others, of the packed or the plain file."""
    files = [*plain_idx()]
    which = int(rng.integers(2))
    packed = _perhaps_packed(files[which], rng)
    files[which] = damaged(packed, rng)
    return files[0], files[1]


def idx_header(rng: Random) -> tuple[bytes, bytes]:
    """Headers that claim other kinds, dimensions and sizes."""
    files = [*plain_idx()]
    which = int(rng.integers(2))
    spoiled = bytearray(files[which])
    place = int(rng.integers(0, 16 if which == 0 else 8))
    value = _pick(rng, [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\0" * 4, rng.bytes(4), b"\x0d", b"\x01"])
    spoiled[place : place + len(value)] = value
    files[which] = _perhaps_packed(bytes(spoiled), rng)
    return files[0], files[1]


def idx_bomb(rng: Random) -> tuple[bytes, bytes]:
    """A packed file that unfolds to far more than its header claims, or that claims gigabytes and has them."""
    pictures, labels = plain_idx()
    match int(rng.integers(3)):
        case 0:
            return gzip.compress(pictures + bytes(100_000_000), 1), labels
        case 1:
            return gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 100_000, 28, 28) + bytes(10_000_000), 1), labels
    return struct.pack(">4B3I", 0, 0, 8, 3, 2_000_000, 28, 28), zlib.compress(labels)


IDX_FILES: dict[str, Callable[[Random], tuple[bytes, bytes]]] = {
    "idx damaged": idx_damaged,
    "idx header": idx_header,
    "idx bomb": idx_bomb,
}
