"""What the command line says when something ends otherwise than asked for."""

from __future__ import annotations

import os
import sys

import typer

from i2i.errors import I2IError, InterruptedBySignal, one_line, printable, tells_want_of_memory


def report_failure(error: BaseException) -> int:
    """Say in one line, or one a mistake, what is wrong; return the exit code."""
    match error:
        case InterruptedBySignal():
            # Asked for and orderly, so no error.
            typer.echo(f"i2i: {error}", err=True)
            return error.exit_code
        case KeyboardInterrupt() | typer.Abort():
            typer.echo("i2i: interrupted", err=True)
            return 130
        case I2IError():
            lines = str(error).splitlines() or [type(error).__name__]
            _complain("\n".join([f"{len(lines)} mistakes", *lines]) if len(lines) > 1 else lines[0])
            return error.exit_code
        case BrokenPipeError():
            # Whoever read our output has had enough. Python would complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        case _ if hasattr(error, "format_message"):  # typer's usage errors, whose class moved between versions
            path = getattr(getattr(error, "ctx", None), "command_path", "i2i")
            # Some versions let a word of pydantic through; choices come a line each.
            said = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")  # type: ignore[attr-defined]
            _complain(f"{said} - see {path} --help")
            return 2
        case _ if _is_out_of_memory(error):
            _complain(
                f"out of memory: {one_line(error, 300)} - use smaller pictures or batches (--batch 1, "
                "--set training.accumulate=2, a smaller crop), or --device cpu"
            )
            return 6
        case RuntimeError() if _has_lost_another(error):
            _complain(
                "another of the processes has ended, and this one cannot go on without it - see what that one said;"
                " a training goes on with i2i train --resume RUN"
            )
            return 1
        case OSError() if error.strerror:
            where = f"{error.filename}: " if error.filename is not None else ""
            _complain(f"{where}{error.strerror} - run again with --debug to see where")
            return 1
        case _:
            _complain(
                f"internal error: {type(error).__name__}: {one_line(error, 300)} - run again with --debug to see where"
            )
            return 1


def _is_out_of_memory(error: BaseException) -> bool:
    # By its name, because torch is imported where something is computed and not for a message.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and tells_want_of_memory(str(error))


def _has_lost_another(error: RuntimeError) -> bool:
    """Whether the libraries that carry messages between processes say so; they raise errors of many classes."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError", "NCCL error")
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and any(sign in str(error) for sign in signs)


def _complain(message: str) -> None:
    typer.echo(f"i2i: error: {printable(message)}", err=True)
