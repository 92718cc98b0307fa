"""The command `silver`.

Exit status: 0 done, 1 failed (the message names the row, file or part), 2 bad usage or a bad recipe.
"""

from __future__ import annotations

import errno
import signal
import sys
from typing import NoReturn

import typer

from manifests.render import printable
from pipeline.errors import RecipeError, SilverError
from workflows.cli import build, judge, look, release
from workflows.cli.shared import app

__all__ = ["build", "judge", "look", "main", "release"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point of the command `silver`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a polite end releases the lock
    try:
        status_code = app(args=arguments, standalone_mode=False)
    except typer.Exit as exit_:
        status_code = exit_.exit_code
    except typer.Abort:
        status_code = 130
    except RecipeError as error:
        _fail(str(error), 2)
    except SilverError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.errno not in MESSAGES:
            raise
        _fail(
            f"{MESSAGES[error.errno]}: {error.filename or ''} ({error.strerror}). What was committed stays; run again when it is mended.", 1
        )
    except KeyboardInterrupt:
        _fail("interrupted; the next run goes on from what is committed", 130)
    except Exception as error:
        usage = getattr(error, "exit_code", None)  # click's own usage errors
        if usage is None:
            raise
        error.show()  # type: ignore[attr-defined]
        status_code = usage
    sys.exit(status_code or 0)


MESSAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the corpus root is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}


def _fail(message: str, status_code: int) -> NoReturn:
    print("\n".join(printable(line) for line in f"silver: {message}".splitlines()), file=sys.stderr)
    sys.stderr.flush()
    sys.exit(status_code)
