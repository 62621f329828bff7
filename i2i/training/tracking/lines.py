"""Lines of a run's records: JSON that carries a checksum of itself.

A changed digit is still JSON: it would make a training of an hour believe that it has run for a day.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}$')


def line_of(record: Mapping[str, Any]) -> bytes:
    """The record as one line with its end; the last key holds the CRC-32 of all before it.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))[:-1].encode()
    return b'%b,"crc32":"%08x"}\n' % (text, zlib.crc32(text))


def record_in(line: bytes) -> dict[str, Any] | None:
    """The record in a line without its end; None if it is damaged. Lines of older versions have no checksum."""
    line = line.rstrip()
    found = _CHECKSUM.search(line)
    if found is not None and int(found[1], 16) != zlib.crc32(line[: found.start()]):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    record.pop("crc32", None)
    return record
