"""Fetch one file from the first mirror that has it, checked before it takes its place."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast
from urllib.parse import urlsplit

from rbmcli.errors import RbmError
from rbmcli.files import is_named, sync_folder, take_lock
from rbmcli.opening import descriptor_of
from rbmcli.terminal import Stderr

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_CHUNK = 1 << 16
#: Seconds for which a server may be silent.
_TIMEOUT_SECONDS = 30
#: A server that sends fewer bytes than this in so many seconds is given up.
_LEAST_BYTES = 30_000
_LEAST_SECONDS = 30.0
#: Seconds after which what a killed download left is old, where no lock tells it.
_OLD_SECONDS = 86_400.0


class _Unfit(Exception):
    """What a mirror sends is not the file; says why in a few words."""


def fetch_file(
    file: str,
    sha256: str,
    most_bytes: int,
    folder: Path,
    mirrors: Sequence[str],
    *,
    quiet: bool = False,
) -> None:
    """Fetch `file` into `folder` from one of `mirrors` (web folders, tried in turn).

    It is written under a name of its own and renamed once its checksum was compared; what a killed
    download left is removed. most_bytes: what it cannot be longer than. Progress goes to stderr
    when that is a terminal, unless `quiet`. Raises RbmError, naming what each mirror answered and
    the folder where the file can be put by hand.
    """
    # requests and rich cost start-up time that no run but a fetching one should pay.
    import requests
    import urllib3

    failures = []
    for mirror in mirrors:
        host = urlsplit(mirror).netloc or mirror
        try:
            with (
                _aside(folder / file) as target,
                _progress_bar(file, shown=Stderr().isatty() and not quiet) as bar,
            ):
                _download(f"{mirror}/{file}", sha256, most_bytes, target, bar)
            return
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures.append(f"{host}: {_reason(error)}")
        except _Unfit as error:
            failures.append(f"{host}: {error}")
        except OSError as error:
            raise RbmError(
                f"{folder}: cannot be written ({error.strerror or error}); "
                "set RBM_DATA_DIR to a folder with room that can be written"
            ) from None
    raise RbmError(
        f"{file}: could not be fetched ({'; '.join(dict.fromkeys(failures))}); "
        f"try again later, or put the file into {folder} by hand"
    )


def _download(url: str, sha256: str, most_bytes: int, target: BinaryIO, bar: _Bar | None) -> None:
    """Write what a server sends to `target`, as long as it can be the file wanted."""
    import requests

    # As it is: a server that packed it once more would send other bytes than the checksum is of.
    headers = {"Accept-Encoding": "identity"}
    checksum, received = hashlib.sha256(), 0
    with requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS, headers=headers) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        if bar is not None:
            bar.begin(int(length) if length.isdecimal() else None)
        since, at_least = time.monotonic(), _LEAST_BYTES
        # Not more at a time than has come, or a trickle would never return to be noticed.
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            received += len(chunk)
            if received > most_bytes:
                raise _Unfit(f"more came than the {most_bytes} bytes that the file can have")
            if received >= at_least:
                since, at_least = time.monotonic(), received + _LEAST_BYTES
            elif time.monotonic() - since > _LEAST_SECONDS:
                raise _Unfit(f"sends less than {_LEAST_BYTES / _LEAST_SECONDS:.0f} bytes a second")
            target.write(chunk)
            checksum.update(chunk)
            if bar is not None:
                bar.advance(len(chunk))
    if length.isdecimal() and received < int(length):
        raise _Unfit("the connection broke off")
    if checksum.hexdigest() != sha256:
        raise _Unfit("what came has another checksum")


@contextmanager
def _aside(target: Path) -> Iterator[BinaryIO]:
    """A new file that becomes `target` unless the block raises; others may fetch it meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    # Whoever may read the folder may read this.
    mode = target.parent.stat().st_mode & 0o666
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        try:
            take_lock(file.fileno(), fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            path.replace(target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    sync_folder(target.parent)


def _clear(target: Path) -> None:
    """Remove what killed downloads of `target` left."""
    for path in target.parent.glob(f".{target.name}.*.part"):
        with suppress(OSError, RbmError):
            descriptor = descriptor_of(path, follow=False)
            try:
                locked = take_lock(descriptor, fcntl.LOCK_EX)
                if locked is None:
                    locked = time.time() - os.fstat(descriptor).st_mtime > _OLD_SECONDS
                if locked and is_named(descriptor, path):
                    path.unlink()
            finally:
                os.close(descriptor)


def _reason(error: Exception) -> str:
    """Say in a few words why a request failed; requests' own messages run over several lines."""
    import requests
    import urllib3

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


class _Bar:
    """How much of a file is there, drawn by rich."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def begin(self, total: int | None) -> None:
        """So many bytes will come, as far as the server says."""
        self._progress.update(self._task, total=total)

    def advance(self, count: int) -> None:
        """So many bytes more are there."""
        self._progress.update(self._task, advance=count)


@contextmanager
def _progress_bar(label: str, *, shown: bool) -> Iterator[_Bar | None]:
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(file=cast(TextIO, Stderr()))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task(label, total=None))
        progress.refresh()
