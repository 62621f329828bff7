"""What a failure means for the rest of the work: one picture less, or the end."""

from __future__ import annotations

import errno

from i2i.errors import I2IError, StorageError
from i2i.inference.translation.planning import Job, Outcome, VideoJob

# Errors that every further result would meet too.
_STORAGE_IS_GONE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def stops_everything(error: I2IError) -> bool:
    """Whether no further result could be written: the disk is full or read-only."""
    cause = error.__cause__
    return isinstance(error, StorageError) and isinstance(cause, OSError) and cause.errno in _STORAGE_IS_GONE


def failed(job: Job | VideoJob, error: I2IError) -> Outcome:
    """The outcome of a `job` that met this error."""
    message = str(error)
    # Errors of the network do not know the file.
    named = message if str(job.source) in message or str(job.destination) in message else f"{job.source}: {message}"
    return Outcome(job.source, job.destination, "failed", named)
