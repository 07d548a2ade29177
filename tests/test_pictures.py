"""Tiles, captions, animations of filters, and the files they become."""

from __future__ import annotations

import shutil
import subprocess
import sys
import weakref
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image, ImageSequence

from rbmcli.errors import RbmError
from rbmcli.pictures import captions, tiles
from rbmcli.pictures.animation import Layout, filter_frames, timeline
from rbmcli.pictures.encode import save_picture
from rbmcli.pictures.mp4 import _find_ffmpeg
from rbmcli.pictures.tiles import GAP

EVERY_FILTER = Layout(slice(None))


def evolving_filters(snapshots, hidden, shape=(28, 28), seed=0):
    """Noisy blobs that form and then wander ever less, as filters do: one array a snapshot."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    centre_y, centre_x = random.uniform(5, 23, (2, hidden, 1, 1)).astype(np.float32)
    strokes = np.exp(-((y - centre_y) ** 2) / 40 - (x - centre_x) ** 2 / 4)
    filters = 0.01 * random.standard_normal((hidden, *shape), dtype=np.float32)
    for snapshot in range(snapshots):
        yield filters.copy()
        noise = random.standard_normal(filters.shape, dtype=np.float32)
        filters += (strokes - filters) * np.float32(0.1) + noise * np.float32(0.1 / (4 + snapshot))


@dataclass
class FakeRun:
    """A run whose snapshots are recorded as they are read."""

    snapshots: list
    filters_epoch: np.ndarray
    name: str = "run"
    path: Path = Path("somewhere/run.h5")
    read: list = field(default_factory=list)

    def snapshot(self, number):
        self.read.append(number)
        return self.snapshots[number]


def flat_run(epochs, name="run", hidden=1):
    """A run whose snapshot at epoch e holds filters that are 0.1 e all over, but for a 1."""
    snapshots = [np.full((hidden, 2, 2), 0.1 * epoch, np.float32) for epoch in epochs]
    for snapshot in snapshots:
        snapshot[:, 0, 0] = 1
    return FakeRun(snapshots, np.array(epochs, np.float64), name, Path(f"folder/{name}.h5"))


def decoded(path):
    with Image.open(path) as animation:
        return [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(animation)]


def durations(path):
    with Image.open(path) as animation:
        return [_loaded(frame).info["duration"] for frame in ImageSequence.Iterator(animation)]


def _loaded(frame):
    frame.load()
    return frame


def noise(count, height=40, width=60, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width), np.uint8))


needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") or find_spec("imageio_ffmpeg")), reason="no ffmpeg"
)


# Tiles


@pytest.mark.parametrize(
    ("count", "columns"),
    [(1, 1), (2, 2), (3, 2), (4, 2), (7, 3), (12, 4), (50, 10), (100, 10), (500, 25), (4096, 64)],
)
def test_near_square(count, columns):
    assert tiles.near_square(count) == columns


def test_each_filter_is_stretched_on_its_own():
    filters = np.array([[[-1, 0], [1, 3]], [[0.1, 0.2], [0.1, 0.1]]], np.float32)
    expected = [[[0, 64], [128, 255]], [[0, 255], [0, 0]]]
    np.testing.assert_array_equal(tiles.stretch_each(filters), expected)


def test_a_constant_filter_is_mid_grey():
    filters = np.array([[[2, 2]], [[0, 0]], [[0, 1]]], np.float32)
    np.testing.assert_array_equal(tiles.stretch_each(filters), [[[128, 128]]] * 2 + [[[0, 255]]])


def test_one_scale_has_zero_in_the_middle_and_clips():
    filters = np.array([[-9, -2, -1, 0, 1, 2, 9]], np.float32)
    expected = [[0, 0, 64, 128, 191, 255, 255]]
    np.testing.assert_array_equal(tiles.stretch_all(filters, 2), expected)


def test_common_limit_passes_over_few_extreme_weights():
    weights = np.linspace(-1, 1, 10_001, dtype=np.float32)
    weights[0] = 1000
    assert 0.95 < tiles.common_limit(weights) < 1
    assert tiles.common_limit(np.zeros(10, np.float32)) > 0


def test_grid_places_tiles_row_by_row():
    picture = tiles.grid(np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.uint8), columns=2)
    g = GAP
    expected = [
        [g, g, g, g, g, g, g],
        [g, 1, 2, g, 3, 4, g],
        [g, g, g, g, g, g, g],
        [g, 5, 6, g, g, g, g],
        [g, g, g, g, g, g, g],
    ]
    np.testing.assert_array_equal(picture, expected)
    assert picture.dtype == np.uint8


def test_grid_is_enlarged_pixel_by_pixel():
    batch = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    small, large = tiles.grid(batch), tiles.grid(batch, scale=3)
    np.testing.assert_array_equal(large, np.kron(small, np.ones((3, 3), np.uint8)))


def test_grid_has_no_more_columns_than_tiles():
    assert tiles.grid(np.zeros((2, 3, 4), np.uint8), columns=9).shape == (5, 11)


def test_grid_of_colour_tiles():
    batch = np.zeros((2, 3, 2, 2), np.uint8)
    batch[1, 2] = 200
    picture = tiles.grid(batch, columns=2)
    assert picture.shape == (4, 7, 3)
    assert picture[1, 4].tolist() == [0, 0, 200]
    assert picture[0, 0].tolist() == [GAP] * 3


def test_channels_that_are_no_colours_stand_one_below_the_other():
    batch = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)
    expected = np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(tiles.grid(batch)[1:-1, 1:-1], expected)


def test_vectors_are_folded_and_filled_up():
    batch = np.arange(1, 8, dtype=np.uint8).reshape(1, 7)
    expected = [[1, 2, 3], [4, 5, 6], [7, GAP, GAP]]
    np.testing.assert_array_equal(tiles.grid(batch)[1:-1, 1:-1], expected)
    assert tiles.grid(np.zeros((1, 784), np.uint8)).shape == (30, 30)


def test_image_grid_has_a_fixed_scale():
    images = np.array([[[-0.1, 0.0, 0.5, 1.0, 1.1]]], np.float32)
    assert tiles.image_grid(images)[1, 1:-1].tolist() == [0, 0, 128, 255, 255]
    bytes_ = np.array([[[0, 1, 254, 255]]], np.uint8)
    assert tiles.image_grid(bytes_, columns=1, scale=1)[1, 1:-1].tolist() == [0, 1, 254, 255]


def test_image_grid_takes_other_limits():
    images = np.array([[[-2.0, -1.0, 0.0, 1.0, 4.0]]], np.float32)
    shown = tiles.image_grid(images, limits=(-1.0, 1.0))[1, 1:-1]
    assert shown.tolist() == [0, 0, 128, 255, 255]
    shown = tiles.image_grid(images, limits=None)[1, 1:-1]
    assert shown.tolist() == [0, 42, 85, 128, 255]
    assert tiles.image_grid(np.ones((1, 1, 2)), limits=None)[1, 1:-1].tolist() == [0, 0]


def test_completion_grid_has_three_tiles_for_each_image():
    originals = np.arange(12).reshape(3, 2, 2) / 11
    mask = np.array([[True, True], [False, False]])
    picture = tiles.completion_grid(originals, mask, 1 - originals, columns=2)
    assert picture.shape == (2 * 3 + 1, 6 * 3 + 1)
    for number in range(3):
        top, left = number // 2 * 3 + 1, number % 2 * 9 + 1
        original, kept, completed = (picture[top : top + 2, left + x :][:, :2] for x in (0, 3, 6))
        np.testing.assert_array_equal(original, np.rint(255 * originals[number]))
        np.testing.assert_array_equal(kept[0], original[0])
        assert (kept[1] == 128).all()
        np.testing.assert_array_equal(completed, np.rint(255 * (1 - originals[number])))
    picture = tiles.completion_grid(2 * originals, mask, -originals, columns=1, limits=None)
    # The least value is -1, the greatest 2.
    assert picture[1, 1] == 85
    assert (picture.min(), picture.max()) == (0, 255)


# Captions


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_a_caption_fits_in_its_width(scale):
    text = "a-Run_gjpq  epoch 12.50"
    width = captions.caption_width(text, scale)
    narrow = captions.captioned(np.full((1, width), GAP, np.uint8), text, scale)
    wide = captions.captioned(np.full((1, width + 40), GAP, np.uint8), text, scale)
    np.testing.assert_array_equal(narrow, wide[:, :width])
    assert np.all(wide[:, width:] == GAP)
    rows = np.flatnonzero((narrow != GAP).any(axis=1))
    assert rows[0] > 0
    assert rows[-1] < len(narrow) - 2
    assert narrow.max() > 200


def test_captions_differ_by_their_digits():
    blank = np.full((1, 200), GAP, np.uint8)
    pictures = [captions.captioned(blank, f"epoch {epoch}", 1) for epoch in range(10)]
    assert len({picture.tobytes() for picture in pictures}) == 10


def test_a_name_in_any_script_is_drawn():
    assert captions.caption_width("数字 é", 1) > 10
    captions.captioned(np.zeros((1, 50), np.uint8), "数字 é", 1)


def test_a_caption_over_colours():
    picture = captions.captioned(np.zeros((5, 80, 3), np.uint8), "epoch 1", 1)
    assert picture.shape[1:] == (80, 3)
    assert picture.max() > 200


def test_pictures_beside_each_other_are_aligned_at_the_top():
    picture = captions.beside([np.full((2, 1), 1, np.uint8), np.full((3, 2), 2, np.uint8)], gap=1)
    np.testing.assert_array_equal(picture, [[1, GAP, 2, 2], [1, GAP, 2, 2], [GAP, GAP, 2, 2]])


def test_greys_beside_colours_become_colours():
    grey, colour = np.full((1, 1), 7, np.uint8), np.array([[[1, 2, 3]]], np.uint8)
    assert captions.beside([grey, colour], gap=0).tolist() == [[[7, 7, 7], [1, 2, 3]]]


# Animations


def test_timeline_joins_the_epochs_of_all_runs():
    runs = [flat_run([0, 1, 2, 3]), flat_run([0, 0.5, 1 + 1e-12])]
    assert timeline(runs) == [0, 0.5, 1, 2, 3]
    assert timeline(runs, every=2) == [0, 1, 3]
    assert timeline(runs, every=3) == [0, 2, 3]
    assert timeline(runs, every=99) == [0, 3]


def test_runs_are_aligned_by_epoch_and_hold_their_last_frame():
    runs = [flat_run([0, 1, 2, 3], "a"), flat_run([0, 2], "b")]
    layout = Layout(slice(None), normalize="all", captions=False)
    frames = list(filter_frames(runs, timeline(runs), layout))
    left = [int(frame[2, 2]) for frame in frames]
    right = [int(frame[2, -2]) for frame in frames]
    assert left == sorted(set(left))
    assert right == [left[0], left[0], left[2], left[2]]
    assert runs[1].read == [-1, 0, 1]


def test_snapshots_are_read_one_at_a_time():
    run = flat_run([0, 1, 2])
    for number, _ in enumerate(filter_frames([run], timeline([run]), EVERY_FILTER)):
        assert run.read == list(range(number + 1))


def test_one_scale_holds_for_all_frames_filters_and_runs():
    weak = FakeRun([np.full((1, 1, 2), value, np.float32) for value in (0.0, 0.5)], np.arange(2.0))
    strong = FakeRun(
        [np.full((1, 1, 2), value, np.float32) for value in (1.0, 2.0)], np.arange(2.0)
    )
    layout = Layout(slice(None), normalize="all", captions=False)
    frames = list(filter_frames([weak, strong], [0, 1], layout))
    shades = [(int(frame[1, 1]), int(frame[1, -2])) for frame in frames]
    assert shades == [(128, 191), (159, 255)]


def test_chosen_filters():
    snapshot = np.arange(6, dtype=np.float32).reshape(6, 1, 1).repeat(2, axis=2)
    run = FakeRun([snapshot], np.zeros(1))
    layout = Layout(slice(2, 4), columns=1, normalize="all", captions=False)
    (frame,) = filter_frames([run], [0.0], layout)
    assert frame.shape == (5, 4)
    assert frame[1, 1] < frame[3, 1] == 255


def test_frames_have_one_shape_however_long_the_captions():
    run = flat_run([0, 9, 10, 1000])
    frames = list(filter_frames([run], timeline([run]), EVERY_FILTER))
    assert len({frame.shape for frame in frames}) == 1
    width = captions.caption_width("run  epoch 1000", 1)
    assert frames[0].shape[1] == width


def test_whole_epochs_are_written_without_decimals(monkeypatch):
    texts = []
    monkeypatch.setattr(
        "rbmcli.pictures.animation.captioned",
        lambda picture, text, scale: texts.append(text) or picture,
    )
    list(filter_frames([flat_run([0, 12])], [0, 12], EVERY_FILTER))
    list(filter_frames([flat_run([0, 1 / 6])], [0, 1], EVERY_FILTER))
    assert texts == ["run  epoch 0", "run  epoch 12", "run  epoch 0.00", "run  epoch 0.17"]


def test_runs_of_one_name_are_told_apart_by_their_folders(monkeypatch):
    texts = []
    monkeypatch.setattr(
        "rbmcli.pictures.animation.captioned",
        lambda picture, text, scale: texts.append(text) or picture,
    )
    runs = [flat_run([0]), flat_run([0])]
    runs[0].path, runs[1].path = Path("cd1/run.h5"), Path("cd5/run.h5")
    list(filter_frames(runs, [0.0], EVERY_FILTER))
    assert texts == ["cd1/run  epoch 0", "cd5/run  epoch 0"]


def test_a_run_without_snapshots_is_refused():
    run = FakeRun([], np.zeros(0))
    with pytest.raises(RbmError, match=r"somewhere/run\.h5: holds no filters yet"):
        timeline([run])


def test_filters_that_a_run_does_not_have_are_refused():
    frames = filter_frames([flat_run([0], hidden=5)], [0.0], Layout(slice(5, 9)))
    with pytest.raises(RbmError, match=r"folder/run\.h5: has no filter 5; it has 0 to 4"):
        next(frames)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_filters_that_are_lost_or_absurd_are_drawn_all_the_same(value):
    """Grey all over; one absurd weight leaves the others where they are."""
    filters = np.full((2, 2, 2), value, np.float32)
    filters[1, 0, 0] = 0 if np.isfinite(value) else np.nan
    layout = Layout(slice(0, 2), captions=False)
    frame = next(filter_frames([FakeRun([filters], np.zeros(1))], [0.0], layout))
    greys = set(frame.ravel().tolist())
    gap = 51
    assert greys <= ({gap, 128, 0} if np.isnan(value) else {gap, 0, 128, 255}), greys


# Files


@pytest.mark.parametrize("greys", [8, 16, 20, 255])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_stay_within_one_grey_level(tmp_path, greys, suffix):
    path = tmp_path / f"a{suffix}"
    shades = (tiles.stretch_each(filters) for filters in evolving_filters(25, 6))
    pictures = [tiles.grid(each) for each in shades]
    save_picture(path, iter(pictures), greys=greys)
    step = 255 / (greys - 1)
    shown = decoded(path)
    assert len(shown) == len(pictures)
    for picture, frame in zip(pictures, shown, strict=True):
        levels, fresh = np.rint(frame / step), np.rint(picture / step)
        np.testing.assert_allclose(frame, levels * step, atol=0.5)
        assert np.abs(levels - fresh).max() <= 1
        assert np.abs(frame - picture.astype(float)).max() <= step + 0.5
    np.testing.assert_array_equal(np.rint(shown[0] / step), np.rint(pictures[0] / step))


def test_other_decoders_compose_the_frames_alike(tmp_path):
    path = tmp_path / "a.gif"
    save_picture(path, map(tiles.grid, map(tiles.stretch_each, evolving_filters(12, 6))))
    other = imageio.imread(path)
    assert other.shape[-1] == 3
    for frame, ours in zip(other, decoded(path), strict=True):
        np.testing.assert_array_equal(frame, np.stack([ours] * 3, axis=-1))


def test_an_animation_of_500_filters_is_small(tmp_path):
    path = tmp_path / "a.gif"

    def pictures():
        for filters in evolving_filters(101, 500):
            yield tiles.grid(tiles.stretch_each(filters))

    save_picture(path, pictures())
    assert path.stat().st_size < 4e6
    for picture, frame in zip(pictures(), decoded(path), strict=True):
        assert np.abs(frame.astype(np.int16) - picture).max() <= 17


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_loop_and_hold_their_last_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_picture(path, noise(7), fps=30)
    assert durations(path) == [30, 40, 30, 30, 40, 30, 2000]
    with Image.open(path) as animation:
        assert animation.info["loop"] == 0


def test_a_frame_without_change_is_a_frame(tmp_path):
    path = tmp_path / "a.gif"
    first, other = noise(2)
    save_picture(path, [first, first, other, other])
    shown = decoded(path)
    assert len(shown) == 4
    np.testing.assert_array_equal(shown[1], shown[0])
    np.testing.assert_array_equal(shown[3], shown[2])


def test_a_frame_without_change_keeps_its_time_in_a_webp(tmp_path):
    path = tmp_path / "a.webp"
    first, other = noise(2)
    save_picture(path, [first, first, other, other], fps=10)
    assert durations(path) == [200, 2100]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_of_one_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    (picture,) = noise(1)
    save_picture(path, [picture])
    (shown,) = decoded(path)
    np.testing.assert_array_equal(shown, np.rint(picture / 17) * 17)


def test_png_is_the_last_frame_exactly(tmp_path):
    pictures = noise(3)
    save_picture(tmp_path / "a.PNG", iter(pictures))
    np.testing.assert_array_equal(imageio.imread(tmp_path / "a.PNG"), pictures[-1])


def test_colours_stay_in_a_png_and_become_grey_in_a_gif(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :, 1] = 255
    save_picture(tmp_path / "a.png", [picture])
    save_picture(tmp_path / "a.gif", [picture, picture])
    np.testing.assert_array_equal(imageio.imread(tmp_path / "a.png"), picture)
    shown = decoded(tmp_path / "a.gif")[1]
    np.testing.assert_array_equal(shown, np.repeat([[153], [0]], [2, 2], axis=0).repeat(4, axis=1))


@needs_ffmpeg
@pytest.mark.parametrize("colour", [(), (3,)])
def test_mp4(tmp_path, colour):
    path = tmp_path / "a.mp4"
    pictures = [np.full((41, 63, *colour), shade, np.uint8) for shade in (0, 100, 200)]
    save_picture(path, iter(pictures), fps=5)
    command = [_find_ffmpeg(), "-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    film = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(film.stdout, np.uint8).reshape(-1, 42, 64)
    assert b"5 fps" in film.stderr
    # The last one is held for two seconds.
    np.testing.assert_allclose(frames[:, 20, 30], [0, 100] + [200] * 10, atol=3)


def test_mp4_without_ffmpeg_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(
        RbmError, match=r"needs ffmpeg: install it, or `pip install imageio-ffmpeg`"
    ):
        save_picture(tmp_path / "a.mp4", noise(2))
    assert not list(tmp_path.iterdir())


def test_an_ffmpeg_that_fails_is_reported(tmp_path, monkeypatch):
    tools, output = tmp_path / "bin", tmp_path / "out"
    tools.mkdir()
    output.mkdir()
    fake = tools / "ffmpeg"
    fake.write_text("#!/bin/sh\necho first >&2\necho no encoder here >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    assert _find_ffmpeg() == str(fake)
    with pytest.raises(RbmError, match=r"a\.mp4: cannot be written \(ffmpeg: no encoder here\)"):
        save_picture(output / "a.mp4", noise(50, 300, 300))
    assert not list(output.iterdir())


@pytest.mark.parametrize(
    "suffix", [".gif", ".webp", ".png", pytest.param(".mp4", marks=needs_ffmpeg)]
)
def test_frames_are_not_kept(tmp_path, suffix):
    alive = weakref.WeakSet()

    class Noted(np.ndarray):
        __hash__ = object.__hash__

    def frames():
        for picture in noise(20):
            frame = picture.copy().view(Noted)
            alive.add(frame)
            assert len(alive) <= 3
            yield frame

    save_picture(tmp_path / f"a{suffix}", frames())


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from rbmcli.pictures.encode import save_picture
random = np.random.default_rng(0)
picture = random.integers(0, 256, (600, 600), np.uint8)
def frames(count):
    for number in range(count):
        picture[number % 600] = random.integers(0, 256, 600, np.uint8)
        yield picture.copy()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
save_picture(path, frames(40))
before = peak()
save_picture(path, frames(240), force=True)
print((peak() - before) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_memory_does_not_grow_with_the_frames(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    command = [sys.executable, "-c", MEMORY, str(path)]
    growth = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # The 200 frames more hold 72 MB.
    assert growth < 10e6


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("precious")
    with pytest.raises(RbmError, match=r"a\.png: exists already: .*--force"):
        save_picture(path, noise(1))
    assert path.read_text() == "precious"
    save_picture(path, noise(1), force=True)
    assert imageio.imread(path).shape == (40, 60)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "suffix", [".gif", ".webp", ".png", pytest.param(".mp4", marks=needs_ffmpeg)]
)
@pytest.mark.parametrize("error", [RbmError("gone"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, suffix, error):
    path = tmp_path / f"a{suffix}"
    path.write_text("precious")

    def frames():
        yield from noise(3)
        raise error

    with pytest.raises(type(error)):
        save_picture(path, frames(), force=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from rbmcli.errors import RbmError
from rbmcli.pictures.encode import save_picture
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
random = np.random.default_rng(0)
try:
    save_picture(Path(sys.argv[1]), random.integers(0, 256, (3, 300, 300), np.uint8))
except RbmError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_full_disk_is_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written (File too large)")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RbmError, match=r"nowhere/a\.png: there is no folder .*nowhere: make it"):
        save_picture(tmp_path / "nowhere" / "a.png", noise(1))


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(RbmError, match=r"a\.bmp: .*\.gif, \.webp, \.mp4, \.png"):
        save_picture(tmp_path / "a.bmp", noise(1))


def test_a_picture_too_large_for_its_format_is_refused(tmp_path):
    wide = np.zeros((1, 17_000), np.uint8)
    with pytest.raises(RbmError, match=r"17000 x 1 pixels, but a \.webp holds 16383 at most"):
        save_picture(tmp_path / "a.webp", [wide])
    save_picture(tmp_path / "a.gif", [wide])
