"""Fetch one file from the first mirror that has it, checked before it takes its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_CHUNK = 1 << 16
_TIMEOUT_SECONDS = 30


def fetch_file(
    file: str, sha256: str, folder: Path, mirrors: Sequence[str], *, quiet: bool = False
) -> None:
    """Fetch `file` into `folder` from one of `mirrors` (web folders, tried in turn).

    It is written under a temporary name and renamed once its checksum was compared. Progress goes
    to stderr when that is a terminal, unless `quiet`. Raises RbmError, naming what each mirror
    answered and the folder where the file can be put by hand.
    """
    # pooch, requests and rich cost start-up time that no run but a fetching one should pay.
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in mirrors:
        host = urlsplit(mirror).netloc or mirror
        with _progress_bar(file, shown=sys.stderr.isatty() and not quiet) as bar:
            download = pooch.HTTPDownloader(
                progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT_SECONDS
            )
            try:
                pooch.retrieve(
                    f"{mirror}/{file}", sha256, fname=file, path=folder, downloader=download
                )
                # pooch's temporary files are private; whoever may read the folder may read this.
                (folder / file).chmod(folder.stat().st_mode & 0o666)
                return
            except requests.RequestException as error:
                failures.append(f"{host}: {_reason(error)}")
            except ValueError:  # How pooch reports a checksum that differs.
                failures.append(f"{host}: what came has another checksum")
            except OSError as error:
                raise RbmError(
                    f"{folder}: cannot be written ({error.strerror or error}); "
                    "set RBM_DATA_DIR to a folder with room that can be written"
                ) from None
    raise RbmError(
        f"{file}: could not be fetched ({'; '.join(dict.fromkeys(failures))}); "
        f"try again later, or put the file into {folder} by hand"
    )


def _reason(error: OSError) -> str:
    """Say in a few words why a request failed; requests' own messages run over several lines."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


@dataclass
class _Bar:
    """The four things pooch asks of a progress bar, drawn by rich."""

    progress: Progress
    task: TaskID
    total: float | None = None

    def update(self, count: int) -> None:
        self.progress.update(self.task, advance=count, total=self.total)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        self.progress.refresh()


@contextmanager
def _progress_bar(label: str, *, shown: bool) -> Iterator[_Bar | Literal[False]]:
    if not shown:
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, progress.add_task(label, total=None))
