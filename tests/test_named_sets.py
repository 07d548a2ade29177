"""Named sets: fetched from a server on loopback, checked, kept, found where they lie."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.server
import io
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from rbmcli.errors import RbmError
from rbmcli.io import digits
from rbmcli.io.sources import named, open_source

RNG = np.random.default_rng(2)
IMAGES = {
    "train": RNG.integers(0, 256, (20, 28, 28), np.uint8),
    "test": RNG.integers(0, 256, (5, 28, 28), np.uint8),
}
LABELS = {part: np.arange(len(images)) % 10 for part, images in IMAGES.items()}


def idx_gzip(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


CONTENT = {
    file: idx_gzip(array[part])
    for part, files in named.PARTS.items()
    for file, array in zip(files, (IMAGES, LABELS), strict=True)
}
TRAIN_IMAGES, TRAIN_LABELS = named.PARTS["train"]


@dataclass
class Server:
    """What the server on loopback offers, by path, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    breaks_off: bool = False


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if state.breaks_off else content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}"
        state.files = {f"/mnist/{file}": content for file, content in CONTENT.items()}
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder; the checksums of `mnist` are those of the small files here."""
    monkeypatch.setenv("RBM_DATA_DIR", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RBM_DATA_URL"):
        monkeypatch.delenv(variable, raising=False)
    sha256 = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENT.items()}
    for name in ("mnist", "fashion-mnist"):
        changed = replace(named.SETS[name], sha256=sha256, packaged=None)
        monkeypatch.setitem(named.SETS, name, changed)
    return tmp_path / "cache"


@pytest.fixture
def served(server, monkeypatch) -> Server:
    """The server, set as the one to fetch from."""
    monkeypatch.setenv("RBM_DATA_URL", server.url)
    return server


def fails(source: str, *fragments: str) -> None:
    with pytest.raises(RbmError) as caught:
        open_source(source)
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_set_is_fetched_once_with_its_labels(served, cache, capfd):
    (cache / "mnist").mkdir(parents=True, mode=0o750)
    for _ in range(2):
        data = open_source("mnist")
        np.testing.assert_array_equal(data.images, IMAGES["train"].reshape(20, 784))
        np.testing.assert_array_equal(data.labels, LABELS["train"])
    assert data.source == "mnist"
    assert served.asked == [f"/mnist/{TRAIN_IMAGES}", f"/mnist/{TRAIN_LABELS}"]
    assert kept(cache / "mnist") == sorted([TRAIN_IMAGES, TRAIN_LABELS])
    assert (cache / "mnist" / TRAIN_IMAGES).stat().st_mode & 0o777 == 0o640
    assert capfd.readouterr() == ("", "")


def test_parts(served):
    np.testing.assert_array_equal(open_source("mnist:test").labels, LABELS["test"])
    np.testing.assert_array_equal(open_source("mnist:train").labels, LABELS["train"])
    fails("mnist:validation", "train, test")
    fails("digits:test", "train")


def test_a_terminal_shows_progress_unless_quiet(served, cache, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    open_source("mnist:test", quiet=True)
    assert sys.stderr.getvalue() == ""
    open_source("mnist")
    shown = sys.stderr.getvalue()
    assert TRAIN_IMAGES in shown
    size = len(CONTENT[TRAIN_LABELS])
    assert f"{size}/{size} bytes" in shown


def test_mirrors_are_tried_in_turn(server, monkeypatch):
    mirrors = (f"{server.url}/gone", f"{server.url}/corrupt", f"{server.url}/mnist")
    monkeypatch.setitem(named.SETS, "mnist", replace(named.SETS["mnist"], mirrors=mirrors))
    server.files |= {f"/corrupt/{file}": b"page not found" for file in CONTENT}
    np.testing.assert_array_equal(open_source("mnist").labels, LABELS["train"])
    asked = [path.split("/")[1] for path in server.asked]
    assert asked == ["gone", "corrupt", "mnist"] * 2


def test_the_server_to_fetch_from_may_end_in_a_slash(monkeypatch):
    monkeypatch.setenv("RBM_DATA_URL", "https://example.org/sets/")
    assert named.mirrors("mnist") == ("https://example.org/sets/mnist",)


def test_a_corrupted_download_leaves_nothing(served, cache):
    served.files[f"/mnist/{TRAIN_IMAGES}"] = CONTENT[TRAIN_IMAGES][:-1] + b"x"
    fails("mnist", TRAIN_IMAGES, "127.0.0.1", "another checksum", str(cache / "mnist"))
    assert kept(cache) == []


def test_an_interrupted_download_leaves_nothing(served, cache):
    served.breaks_off = True
    fails("mnist", TRAIN_IMAGES, "broke off", str(cache / "mnist"))
    assert kept(cache) == []


def test_an_interrupt_by_the_user_leaves_nothing(served, cache, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rbmcli.io.sources.fetching.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_source("mnist")
    assert len(served.asked) == 1
    assert kept(cache) == []


def test_a_file_the_server_has_not(served, cache):
    served.files.clear()
    fails("mnist", "answered 404 Not Found")


def test_no_network(cache, monkeypatch):
    monkeypatch.setenv("RBM_DATA_URL", "http://127.0.0.1:9")
    fails("mnist", "no connection", f"put the file into {cache / 'mnist'} by hand")


def test_a_cache_that_cannot_be_written(served, cache):
    cache.write_text("in the way")
    fails("mnist", str(cache), "RBM_DATA_DIR")


def test_files_put_there_by_hand_are_found(cache):
    (cache / "kmnist").mkdir(parents=True)
    for file in named.PARTS["test"]:
        (cache / "kmnist" / file).write_bytes(CONTENT[file])
    np.testing.assert_array_equal(open_source("kmnist:test").labels, LABELS["test"])
    assert not named.is_present("kmnist")


def test_a_damaged_file_in_the_cache_is_named(cache):
    (cache / "mnist").mkdir(parents=True)
    for file in named.PARTS["train"]:
        (cache / "mnist" / file).write_bytes(CONTENT[file][:-9])
    fails("mnist", str(cache / "mnist" / TRAIN_IMAGES), "truncated")


def test_a_packaged_set_is_used_where_installed(tmp_path, cache, monkeypatch):
    installed = tmp_path / "share"
    fashion = replace(named.SETS["fashion-mnist"], packaged=installed)
    monkeypatch.setitem(named.SETS, "fashion-mnist", fashion)
    monkeypatch.setenv("RBM_DATA_URL", "http://127.0.0.1:9")
    assert named.locate("fashion-mnist") == cache / "fashion-mnist"
    installed.mkdir()
    for file, content in CONTENT.items():
        (installed / file).write_bytes(content)
    np.testing.assert_array_equal(open_source("fashion-mnist").labels, LABELS["train"])
    assert named.is_present("fashion-mnist")
    assert not cache.exists()


def test_a_file_of_a_sets_name_needs_a_slash_or_suffix(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mnist").write_bytes(CONTENT[TRAIN_IMAGES])
    assert open_source("mnist").labels is not None
    assert open_source("./mnist").labels is None


def test_labels_of_a_set_can_be_replaced(served, tmp_path):
    np.save(tmp_path / "parity.npy", LABELS["train"] % 2)
    data = open_source("mnist", labels=str(tmp_path / "parity.npy"), only=[1], limit=4)
    np.testing.assert_array_equal(data.images, IMAGES["train"][[1, 3, 5, 7]].reshape(4, 784))


def test_digits_are_generated(cache):
    images, labels = digits.generate(named.SETS["digits"].counts["train"], 0)
    data = open_source("digits", only=[3, 8], limit=50)
    chosen = np.flatnonzero(np.isin(labels, [3, 8]))[:50]
    np.testing.assert_array_equal(data.images, images[chosen].reshape(50, 784))
    np.testing.assert_array_equal(data.labels, labels[chosen])
    assert (data.image_shape, data.scale, data.notices) == ((28, 28), 255.0, ())
    assert not cache.exists()


# Servers that mean ill, or are ill ---------------------------------------------------------------


@pytest.fixture
def sending(monkeypatch):
    """A server that sends these pieces, and never says how many bytes it will be."""
    over = threading.Event()
    pieces: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not over.wait(0.005):
                    self.wfile.write(pieces[0])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("RBM_DATA_URL", f"http://127.0.0.1:{listening.server_port}")
        yield pieces
        over.set()
        listening.shutdown()
        thread.join()


def test_a_download_that_never_ends(sending, cache, monkeypatch):
    sending.append(bytes(1 << 16))
    monkeypatch.setitem(named.SETS, "mnist", replace(named.SETS["mnist"], counts={"train": 100}))
    most = 100 * 28 * 28 + (1 << 18)
    assert named.most_bytes("mnist", TRAIN_IMAGES) == most
    fails("mnist", f"more came than the {most} bytes that the file can have")
    assert kept(cache) == []


def test_a_download_that_trickles(sending, cache, monkeypatch):
    """Each byte comes in time, and yet it would take for ever."""
    sending.append(b"x")
    monkeypatch.setattr("rbmcli.io.sources.fetching._LEAST_SECONDS", 0.1)
    fails("mnist", "bytes a second")
    assert kept(cache) == []


def test_what_a_killed_download_left_is_removed(served, cache):
    folder = cache / "mnist"
    folder.mkdir(parents=True)
    for name in (f".{TRAIN_IMAGES}.00aa.part", f".{TRAIN_IMAGES}.running.part", "mine.part"):
        (folder / name).write_bytes(b"half")
    with (folder / f".{TRAIN_IMAGES}.running.part").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        open_source("mnist")
    assert kept(folder) == sorted(
        [TRAIN_IMAGES, TRAIN_LABELS, f".{TRAIN_IMAGES}.running.part", "mine.part"]
    )


def test_real_sets_are_not_larger_than_they_can_be():
    assert named.most_bytes("mnist", TRAIN_IMAGES) > 9_912_422
    assert named.most_bytes("mnist", TRAIN_LABELS) > 60_008
    assert named.most_bytes("mnist", named.PARTS["test"][0]) < 10_000 * 784 + (1 << 20)
