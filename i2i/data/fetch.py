"""Published picture sets and weights: downloaded once, proven by checksum; archives are unpacked with distrust."""

from __future__ import annotations

import errno
import http.client
import ssl
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from i2i.data.archive_names import check_archive_names, files_in_zip
from i2i.data.cache import default_cache_folder
from i2i.data.folders import find_pictures
from i2i.errors import DataError, StorageError, one_line
from i2i.files import remove_leftovers_of, sha256_of_file, temporary_prefix

_BLOCK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 20
_MAX_UNPACKED_RATIO = 20
"""Pictures hardly shrink in a zip; an archive that unfolds to more than this many times its size is a bomb."""

Progress = Callable[[int], None]
"""Called with the number of bytes there are so far."""


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file that its authors offer."""

    what: ClassVar[str] = "file"

    name: str
    url: str
    archive_bytes: int
    sha256: str
    kept_as: str | None = None
    """Its name here, where its authors' says too little among other files."""
    other_names: Sequence[str] = ()
    """What others call the same bytes."""

    @property
    def file_name(self) -> str:
        """What it is called here: as a rule what its authors call it."""
        return self.kept_as or self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class PublishedSet(PublishedFile):
    """A set that its authors offer as one zip archive.

    `pictures`: how many each of its folders must hold; the archive has all folders below one named `name`.
    """

    what: ClassVar[str] = "archive"

    pictures: Mapping[str, int]


CATALOGUE: Mapping[str, PublishedSet] = {
    "horse2zebra": PublishedSet(
        name="horse2zebra",
        url="https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/horse2zebra.zip",
        archive_bytes=116_867_962,
        sha256="a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        pictures={"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140},
    ),
}
"""Every set that ``i2i data fetch`` knows."""

# The files of this commit; a branch would move on.
_LPIPS_HEADS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/082bb24f84c091ea94de2867d34c4544f68e0963"
)

PUBLISHED_WEIGHTS: Mapping[str, PublishedFile] = {
    # Inception v3 of 2015 as every FID means it, converted from TensorFlow; torch-fidelity publishes the same bytes.
    "inception": PublishedFile(
        name="inception",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        archive_bytes=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        other_names=("pt_inception-2015-12-05-6726825d.pth",),
    ),
    "alexnet": PublishedFile(
        name="alexnet",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        archive_bytes=244_408_911,
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "vgg16": PublishedFile(
        name="vgg16",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        archive_bytes=553_433_881,
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    # What LPIPS 0.1 learned to weigh the channels of these two by.
    "lpips_alexnet": PublishedFile(
        name="lpips_alexnet",
        url=f"{_LPIPS_HEADS}/lpips/weights/v0.1/alex.pth",
        archive_bytes=6_009,
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        kept_as="lpips-v0.1-alex-df73285e.pth",
    ),
    "lpips_vgg16": PublishedFile(
        name="lpips_vgg16",
        url=f"{_LPIPS_HEADS}/lpips/weights/v0.1/vgg.pth",
        archive_bytes=7_289,
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        kept_as="lpips-v0.1-vgg-a78928a0.pth",
    ),
    # Its name holds the first eight digits of its SHA-256, as those of all weights of torchvision do.
    "vgg19": PublishedFile(
        name="vgg19",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        archive_bytes=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
}
"""Weights of other networks that ``i2i data fetch`` knows; nothing else ever downloads them."""


def weights_folder() -> Path:
    """Where published weights go unless told otherwise."""
    return default_cache_folder() / "weights"


def fetch_file(entry: PublishedFile, folder: Path, progress: Progress | None = None) -> Path:
    """Get a published file into `folder`, under its own name; one that is there already is checked and left.

    A broken download is taken up where it stopped, now or by a later call.

    Returns:
        The file.

    Raises:
        DataError: no connection, or wrong bytes.
        StorageError: the disk is full or may not be written to.
    """
    file = folder / entry.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            _verify(entry, file, f"remove {file} and fetch again")
        else:
            _download(entry, file, progress)
    except OSError as error:
        raise _refused(folder, error) from error
    return file


def fetch_set(entry: PublishedSet, to: Path, progress: Progress | None = None) -> Path:
    """Get a published set into ``to/<name>``; a set that is there already, whole, is left as it is.

    A broken download is taken up where it stopped, now or by a later call. An archive already lying at
    ``to/<name>.zip`` is used in place of a download, and kept.

    Returns:
        The folder ``to/<name>``.

    Raises:
        DataError: no connection, wrong bytes, or an archive that does not hold what it should.
        StorageError: the disk is full or may not be written to.
    """
    folder = to / entry.name
    if folder.exists():
        _check_counts(entry, folder, f"{folder}: is there already but", "move it away and fetch again")
        return folder
    archive = to / f"{entry.name}.zip"
    try:
        to.mkdir(parents=True, exist_ok=True)
        downloaded = not archive.exists()
        if downloaded:
            _download(entry, archive, progress)
        else:
            _verify(entry, archive, f"remove {archive} and fetch again")
        _unpack(entry, archive, folder)
        if downloaded:
            archive.unlink()
    except OSError as error:
        raise _refused(to, error) from error
    return folder


def _refused(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder}: cannot be written: {error.strerror or error} - free space or choose another folder with --to"
    )


def _download(entry: PublishedFile, archive: Path, progress: Progress | None) -> None:
    """Download to ``<archive>.part``, resuming what is there, verify it and give it its name."""
    part = archive.with_name(f"{archive.name}.part")
    trouble = "the connection closed early"
    for _ in range(_ATTEMPTS):
        if _size(part) > entry.archive_bytes:
            part.unlink()
        before = _size(part)
        if before < entry.archive_bytes:
            try:
                _continue_download(entry, part, progress)
            except (
                urllib.error.URLError,
                http.client.HTTPException,
                TimeoutError,
                ConnectionError,
                ssl.SSLError,
            ) as error:
                trouble = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
                if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                    part.unlink(missing_ok=True)
                    continue
                if _size(part) == before:  # not a byte came: no use in trying again at once
                    break
        if _size(part) == entry.archive_bytes:
            _verify(entry, part, f"{part} was removed, fetch again", remove=True)
            part.replace(archive)
            return
    raise DataError(
        f"{entry.url}: cannot be downloaded ({trouble}; {_size(part):,} of {entry.archive_bytes:,} bytes are here)"
        f" - run the same command again to go on, or put the file at {archive} by hand and run it again"
    )


def _continue_download(entry: PublishedFile, part: Path, progress: Progress | None) -> None:
    """Append the rest of the file to `part`, or begin anew if the server cannot send a rest."""
    present = _size(part)
    request = urllib.request.Request(entry.url, headers={"User-Agent": "i2i"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        # 200 in answer to a range is the whole file from its beginning.
        resumed = response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(
            f"bytes {present}-"
        )
        present = present if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while block := _next_block(response):
                present += len(block)
                if present > entry.archive_bytes:
                    raise DataError(
                        f"{entry.url}: sends more than the {entry.archive_bytes:,} bytes it should"
                        " - the published file has changed; get it from its authors"
                    )
                file.write(block)
                if progress is not None:
                    progress(present)


def _next_block(response: BinaryIO) -> bytes:
    try:
        return response.read(_BLOCK_BYTES)
    except OSError as error:
        # Of the connection, whatever its class: that of a file that cannot be written is another trouble.
        raise urllib.error.URLError(error) from error


def _verify(entry: PublishedFile, archive: Path, remedy: str, *, remove: bool = False) -> None:
    size = _size(archive)
    if size == entry.archive_bytes and sha256_of_file(archive) == entry.sha256:
        return
    if remove:
        archive.unlink()
    same_size = size == entry.archive_bytes
    what = (
        "its SHA-256 is not the published one" if same_size else f"{size:,} bytes in place of {entry.archive_bytes:,}"
    )
    raise DataError(f"{archive}: is not the {entry.name} {entry.what} ({what}) - {remedy}")


def _unpack(entry: PublishedSet, archive: Path, folder: Path) -> None:
    """Unpack beside `folder`, check, and rename into place."""
    remove_leftovers_of(folder)  # of an earlier one that was killed
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=temporary_prefix(folder)) as temporary:
        try:
            with zipfile.ZipFile(archive) as opened:
                for member in _safe_members(entry, opened, archive):
                    # Which by itself, too, keeps everything below the folder and makes no links.
                    opened.extract(member, temporary)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
            raise _damaged(archive, error) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The archive sends its reader to a place before its beginning.
            raise _damaged(archive, error) from error
        unpacked = Path(temporary, entry.name)
        _check_counts(entry, unpacked, f"{archive}: its folder {entry.name}", "get the archive from its authors")
        unpacked.rename(folder)


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive}: is a damaged archive ({one_line(error, 120)}) - remove it and fetch again")


def _safe_members(entry: PublishedSet, opened: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The files to unpack; none leaves the folder, none is a link, and all together are no bomb.

    zipfile itself stops at the size a member declares, so that the declared sizes can be trusted here.
    """
    members = files_in_zip(opened)
    names = Counter(str(PurePosixPath(member.filename)) for member in members)
    check_archive_names(archive, [member.filename for member in members])
    for member in members:
        if names[str(PurePosixPath(member.filename))] > 1:
            raise DataError(f"{archive}: holds {member.filename[:200]!r} twice - do not use this archive")
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise DataError(f"{archive}: {member.filename[:200]!r} is a link or device - do not use this archive")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unfolds all others without measure.
            raise DataError(f"{archive}: {member.filename[:200]!r} is packed in a rare way - do not use this archive")
    declared = sum(member.file_size for member in members)
    expected = sum(entry.pictures.values())
    if declared > entry.archive_bytes * _MAX_UNPACKED_RATIO or len(members) > 2 * expected + 100:
        raise DataError(
            f"{archive}: would unpack to {len(members):,} files of {declared:,} bytes - do not use this archive"
        )
    return members


def _check_counts(entry: PublishedSet, folder: Path, what: str, remedy: str) -> None:
    for name, expected in entry.pictures.items():
        try:
            found = len(find_pictures(folder / name))
        except DataError:
            found = 0
        if found != expected:
            raise DataError(f"{what} holds {found} pictures in {name} in place of {expected} - {remedy}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
