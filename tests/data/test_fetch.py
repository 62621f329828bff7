"""Fetching over bad lines and from bad archives, against a server on this machine."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.data.fetch import CATALOGUE, PublishedFile, PublishedSet, fetch_file, fetch_set, weights_folder
from i2i.errors import DataError, StorageError

_COUNTS = {"trainA": 3, "trainB": 2, "testA": 1, "testB": 1}


def _archive(extra: dict[str, bytes] | None = None, links: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("tiny/", b"")
        for folder, count in _COUNTS.items():
            for index in range(count):
                opened.writestr(f"tiny/{folder}/{index}.jpg", bytes([index]) * 40_000)
        for name, content in (extra or {}).items():
            opened.writestr(name, content, zipfile.ZIP_DEFLATED)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            opened.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@dataclass
class _Site:
    """What the server holds and how it behaves."""

    content: bytes
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off."""
    status: int = 200
    requests: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    url: str = ""

    def entry(self) -> PublishedSet:
        return PublishedSet(
            name="tiny",
            url=self.url,
            archive_bytes=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            pictures=_COUNTS,
        )


@pytest.fixture
def site() -> Iterator[_Site]:
    state = _Site(_archive())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if state.status != 200:
                self.send_error(state.status)
                return
            body = state.content[start:]
            self.send_response(206 if wanted and state.ranges else 200)
            if wanted and state.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/tiny.zip"
        yield state
        server.shutdown()
        thread.join()


def _assert_fetched(folder: Path, to: Path) -> None:
    assert folder == to / "tiny"
    assert {path.name: len(list(path.iterdir())) for path in folder.iterdir()} == _COUNTS
    assert (folder / "trainA" / "2.jpg").read_bytes() == b"\2" * 40_000
    assert [path.name for path in to.iterdir()] == ["tiny"], "nothing else is left"


def test_fetches_verifies_and_unpacks(site: _Site, tmp_path: Path) -> None:
    seen: list[int] = []
    _assert_fetched(fetch_set(site.entry(), tmp_path / "new" / "sets", seen.append), tmp_path / "new" / "sets")
    assert seen == sorted(seen) and seen[-1] == len(site.content)
    assert site.requests == [None]


def test_a_set_that_is_there_is_left_alone(site: _Site, tmp_path: Path) -> None:
    fetch_set(site.entry(), tmp_path)
    (tmp_path / "tiny" / "mine.txt").write_text("mine")
    fetch_set(site.entry(), tmp_path)
    assert len(site.requests) == 1
    assert (tmp_path / "tiny" / "mine.txt").exists()
    (tmp_path / "tiny" / "trainB" / "0.jpg").unlink()
    with pytest.raises(DataError, match="is there already but holds 1 pictures in trainB in place of 2 - move it away"):
        fetch_set(site.entry(), tmp_path)


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(site: _Site, tmp_path: Path) -> None:
    site.cut_after = [100_000, 50_000]
    seen: list[int] = []
    _assert_fetched(fetch_set(site.entry(), tmp_path, seen.append), tmp_path)
    assert site.requests == [None, "bytes=100000-", "bytes=150000-"]
    assert seen == sorted(seen)


def test_a_later_call_takes_up_what_an_earlier_one_left(site: _Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.zip.part").write_bytes(site.content[:1234])
    _assert_fetched(fetch_set(site.entry(), tmp_path), tmp_path)
    assert site.requests == ["bytes=1234-"]


def test_a_finished_part_needs_no_connection(site: _Site, tmp_path: Path) -> None:
    (tmp_path / "tiny.zip.part").write_bytes(site.content)
    _assert_fetched(fetch_set(site.entry(), tmp_path), tmp_path)
    assert site.requests == []


def test_a_server_without_ranges_begins_anew(site: _Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut_after = [100_000]
    _assert_fetched(fetch_set(site.entry(), tmp_path), tmp_path)
    assert site.requests == [None, "bytes=100000-"]


def test_a_server_that_always_breaks_off_is_given_up(site: _Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut_after = [100_000] * 100
    with pytest.raises(
        DataError, match=r"cannot be downloaded .*; 100,000 of .* bytes are here\) - run the same command"
    ):
        fetch_set(site.entry(), tmp_path)
    assert (tmp_path / "tiny.zip.part").stat().st_size == 100_000
    assert len(site.requests) < 30


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusing_server_is_named_with_the_way_out(site: _Site, tmp_path: Path, status: int) -> None:
    site.status = status
    with pytest.raises(DataError) as caught:
        fetch_set(site.entry(), tmp_path)
    message = str(caught.value)
    assert message.startswith(site.url) and "\n" not in message
    assert f"put the file at {tmp_path / 'tiny.zip'} by hand" in message
    assert len(site.requests) == 1


def test_without_a_network_one_line_says_where_to_put_the_file(site: _Site, tmp_path: Path) -> None:
    entry = replace(site.entry(), url="http://127.0.0.1:9/tiny.zip")
    with pytest.raises(DataError) as caught:
        fetch_set(entry, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "tiny.zip") in str(caught.value)
    (tmp_path / "tiny.zip").write_bytes(site.content)
    assert fetch_set(entry, tmp_path) == tmp_path / "tiny"
    assert (tmp_path / "tiny.zip").exists(), "what a person put there is theirs"


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_wrong_file_put_by_hand_is_refused(site: _Site, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.zip").write_bytes(content or bytes(len(site.content)))
    with pytest.raises(DataError, match=r"is not the tiny archive \((its SHA-256|4 bytes in place of)"):
        fetch_set(site.entry(), tmp_path)
    assert (tmp_path / "tiny.zip").exists()


def test_wrong_bytes_are_removed_and_the_next_call_begins_anew(site: _Site, tmp_path: Path) -> None:
    entry = site.entry()
    good = site.content
    site.content = good[:-1] + b"?"
    with pytest.raises(DataError, match="its SHA-256 is not the published one"):
        fetch_set(entry, tmp_path)
    assert not list(tmp_path.iterdir())
    site.content = good
    _assert_fetched(fetch_set(entry, tmp_path), tmp_path)


def test_a_server_that_sends_too_much_is_stopped(site: _Site, tmp_path: Path) -> None:
    entry = site.entry()
    site.content += b"more"
    with pytest.raises(DataError, match="sends more than the"):
        fetch_set(entry, tmp_path)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"../evil.jpg": b"x"}, "unsafe path"),
        ({"tiny/../../evil.jpg": b"x"}, "unsafe path"),
        ({"/evil.jpg": b"x"}, "unsafe path"),
        ({"C:/evil.jpg": b"x"}, "unsafe path"),
        ({"..\\evil.jpg": b"x"}, "unsafe path"),
        ({"tiny/bomb.bin": bytes(30_000_000)}, r"would unpack to 8 files of 30,280,000 bytes"),
        ({f"tiny/many/{index}": b"" for index in range(200)}, "would unpack to 207 files"),
        ({"tiny/trainA/more.jpg": b"x"}, "holds 4 pictures in trainA in place of 3"),
    ],
)
def test_a_hostile_archive_leaves_nothing(site: _Site, tmp_path: Path, extra: dict[str, bytes], message: str) -> None:
    site.content = _archive(extra)
    to = tmp_path / "to"
    with pytest.raises(DataError, match=message) as caught:
        fetch_set(site.entry(), to)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["to", "tiny.zip"]


def test_a_file_without_a_name_is_refused(site: _Site, tmp_path: Path) -> None:
    site.content = _archive({"Q.jpg": b"x"}).replace(b"Q.jpg", b"\0.jpg")  # a name ends where it has a zero byte
    with pytest.raises(DataError, match="unsafe path ''"):
        fetch_set(site.entry(), tmp_path)


def test_an_archive_that_points_before_its_beginning_is_damaged(site: _Site, tmp_path: Path) -> None:
    content = bytearray(_archive())
    content[-4:-2] = b"\xff\xff"  # of the number of bytes before its list of files
    site.content = bytes(content)
    with pytest.raises(DataError, match="is a damaged archive"):
        fetch_set(site.entry(), tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_an_archive_whose_names_do_not_agree_is_refused_in_few_words(site: _Site, tmp_path: Path) -> None:
    content = bytearray(_archive({"tiny/" + "x" * 200: b"x"}))
    at = content.index(b"PK\x03\x04", content.index(b"x" * 200) - 300)
    content[content.index(b"x" * 200, at) : content.index(b"x" * 200, at) + 200] = bytes(range(1, 201))
    site.content = bytes(content)
    with pytest.raises(DataError, match="is a damaged archive") as caught:
        fetch_set(site.entry(), tmp_path)
    assert len(str(caught.value)) < 400


def test_an_archive_with_a_link_is_refused(site: _Site, tmp_path: Path) -> None:
    site.content = _archive(links=("tiny/trainA/link.jpg",))
    with pytest.raises(DataError, match=r"'tiny/trainA/link\.jpg' is a link or device"):
        fetch_set(site.entry(), tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_what_is_no_archive_is_refused(site: _Site, tmp_path: Path) -> None:
    site.content = b"<html>moved</html>" * 10
    with pytest.raises(DataError, match="is a damaged archive"):
        fetch_set(site.entry(), tmp_path)


def test_a_full_disk_is_said_to_be_full(site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zipfile.shutil.copyfileobj", no_space)
    with pytest.raises(StorageError, match="cannot be written: No space left on device - free space"):
        fetch_set(site.entry(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.zip"]


def test_a_line_that_becomes_unreachable_is_no_full_disk(
    site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(response: object, amount: int) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr("http.client.HTTPResponse.read", unreachable)
    with pytest.raises(DataError, match=r"cannot be downloaded \(\[Errno 113\] No route to host.* to go on"):
        fetch_set(site.entry(), tmp_path)


def test_what_a_killed_fetch_left_unpacked_is_removed(site: _Site, tmp_path: Path) -> None:
    left = tmp_path / ".writing-tiny-abc"
    (left / "tiny" / "trainA").mkdir(parents=True)
    (left / "tiny" / "trainA" / "0.jpg").write_bytes(b"half")
    _assert_fetched(fetch_set(site.entry(), tmp_path), tmp_path)
    assert not left.exists()


def test_the_catalogue_says_what_was_published() -> None:
    entry = CATALOGUE["horse2zebra"]
    assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert (entry.archive_bytes, sum(entry.pictures.values())) == (116_867_962, 1067 + 1334 + 120 + 140)
    assert all(name == entry.name for name, entry in CATALOGUE.items())


def test_a_single_file_is_fetched_checked_and_left_alone(site: _Site, tmp_path: Path) -> None:
    entry = PublishedFile(
        name="tiny", url=site.url, archive_bytes=len(site.content), sha256=hashlib.sha256(site.content).hexdigest()
    )
    site.cut_after = [1000]
    file = fetch_file(entry, tmp_path / "new" / "weights")
    assert file == tmp_path / "new" / "weights" / "tiny.zip" and file.read_bytes() == site.content
    assert [path.name for path in file.parent.iterdir()] == ["tiny.zip"]
    requests = len(site.requests)
    assert fetch_file(entry, file.parent) == file
    assert len(site.requests) == requests == 2
    file.write_bytes(b"something else")
    with pytest.raises(
        DataError, match=r"is not the tiny file \(14 bytes in place of .*\) - remove .* and fetch again"
    ):
        fetch_file(entry, file.parent)


def test_weights_go_into_the_cache_by_command(
    site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = PublishedFile(
        name="tiny", url=site.url, archive_bytes=len(site.content), sha256=hashlib.sha256(site.content).hexdigest()
    )
    monkeypatch.setattr("i2i.commands.data.PUBLISHED_WEIGHTS", {"tiny": entry})
    assert main(["data", "fetch", "tiny"]) == 0
    assert (weights_folder() / "tiny.zip").read_bytes() == site.content
    assert capsys.readouterr().out == f"{weights_folder() / 'tiny.zip'}: {len(site.content):,} bytes, as published\n"
    assert main(["data", "fetch", "tiny", "--to", str(tmp_path / "elsewhere"), "--quiet"]) == 0
    assert (tmp_path / "elsewhere" / "tiny.zip").read_bytes() == site.content
    assert main(["data", "fetch", "nothing"]) == 2
    assert "known: horse2zebra, tiny" in capsys.readouterr().err
