"""`rbm render-gif`, from run files to pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rbmcli.cli.main import run as rbm
from rbmcli.io.runwriter import RunWriter


def write_run(path, epochs=(0, 1, 2), hidden=6, finish=True, shape=(8, 8)):
    """Write a run file whose filters become ever more different."""
    random = np.random.default_rng(1)
    pattern = random.standard_normal((hidden, *shape), dtype=np.float32)
    writer = RunWriter.create(path, config={}, data={}, image_shape=(8, 8))
    machine = writer.begin("", snapshot_shape=pattern.shape)
    for epoch in epochs:
        noise = random.standard_normal(pattern.shape, dtype=np.float32)
        machine.snapshot(float(epoch), pattern * np.float32(epoch) + noise)
    machine.checkpoint({"model/weights": pattern.reshape(len(pattern), -1).T})
    if finish:
        writer.finish()
    return writer


def frames_and_size(path):
    with Image.open(path) as picture:
        return getattr(picture, "n_frames", 1), picture.size


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run.h5")
    return tmp_path


def without_captions(*arguments):
    return rbm(["render-gif", "--no-captions", *arguments])


def test_a_frame_for_each_snapshot(folder, capsys):
    assert rbm(["render-gif", "run.h5", "-o", "a.gif"]) == 0
    frames, (width, height) = frames_and_size("a.gif")
    assert frames == 3
    assert width > 28  # wider than its filters: the caption needs more room
    assert height > 19
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a.gif: 3 frames, 0.0")


def test_quiet_says_nothing(folder, capsys):
    assert rbm(["render-gif", "run.h5", "-o", "a.gif", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_layout_options(folder):
    assert without_captions("run.h5", "-o", "a.gif") == 0
    assert frames_and_size("a.gif") == (3, (28, 19))
    assert without_captions("run.h5", "-o", "b.gif", "--columns", "6", "--scale", "2") == 0
    assert frames_and_size("b.gif") == (3, (110, 20))
    assert without_captions("run.h5", "-o", "c.gif", "--every", "2", "--filters", "1") == 0
    assert frames_and_size("c.gif") == (2, (10, 10))
    assert without_captions("run.h5", "-o", "d.gif", "--filters", "2-3") == 0
    assert frames_and_size("d.gif") == (3, (19, 10))


def test_fps_and_greys(folder):
    options = ["--fps", "4", "--greys", "8"]
    assert without_captions("run.h5", "-o", "a.gif", *options) == 0
    with Image.open("a.gif") as animation:
        assert animation.info["duration"] == 250
        assert len(set(animation.convert("L").tobytes())) <= 8


def test_normalize(folder):
    assert without_captions("run.h5", "-o", "each.png", "--normalize", "each") == 0
    assert without_captions("run.h5", "-o", "all.png", "--normalize", "all") == 0
    with Image.open("each.png") as each, Image.open("all.png") as both:
        first = (1, 1, 9, 9)
        assert each.crop(first).getextrema() == (0, 255)
        assert both.crop(first).getextrema() != (0, 255)


def test_a_png_is_the_last_snapshot(folder, capsys):
    write_run(folder / "late.h5", epochs=[0, 1, 2, 3])
    assert without_captions("late.h5", "-o", "all.gif", "--greys", "255") == 0
    capsys.readouterr()
    assert without_captions("late.h5", "-o", "last.png") == 0
    assert capsys.readouterr().err.startswith("last.png: 1 frame, ")
    with Image.open("all.gif") as animation, Image.open("last.png") as last:
        animation.seek(3)
        shown = np.asarray(animation.convert("L"), np.int16)
        assert np.abs(shown - np.asarray(last)).max() <= 1


def test_runs_side_by_side(folder):
    write_run(folder / "other.h5", epochs=[0, 0.5], hidden=2)
    assert without_captions("run.h5", "other.h5", "-o", "a.gif") == 0
    assert frames_and_size("a.gif") == (4, (28 + 8 + 19, 19))
    assert without_captions("run.h5", "other.h5", "-o", "b.gif", "--scale", "2") == 0
    assert frames_and_size("b.gif") == (4, (110, 38))


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_filters_of_different_sizes_stand_side_by_side(folder, suffix):
    write_run(folder / "small.h5", epochs=[0, 3], hidden=4, shape=(3, 5))
    write_run(folder / "colours.h5", hidden=2, shape=(3, 4, 4))
    runs, size = ("small.h5", "colours.h5", "run.h5"), (13 + 8 + 11 + 8 + 28, 19)
    assert without_captions(*runs, "-o", "a.png") == 0
    assert frames_and_size("a.png") == (1, size)
    with Image.open("a.png") as picture:
        for left, height, width in ((0, 3, 5), (13 + 8, 4, 4), (13 + 8 + 11 + 8, 8, 8)):
            tile = picture.convert("L").crop((left + 1, 1, left + 1 + width, 1 + height))
            assert len(set(tile.tobytes())) > width * height // 2
    assert without_captions(*runs, "-o", f"a.{suffix}") == 0
    if suffix == "gif":
        assert frames_and_size("a.gif") == (4, size)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
def test_runs_of_filters_that_move_over_images(folder, shape):
    """As trained: of 3 x 4 pixels, then what a filter above them covers, then whole images."""
    images = np.random.default_rng(1).integers(0, 256, (40, *shape), np.uint8)
    np.save("images.npy", images)
    small = ["--epochs", "2", "--threads", "1", "--quiet"]
    layers = ["--add-layer", "conv=4x3x4,pool=1", "--add-layer", "conv=6x2x2", "--add-layer", "2"]
    assert rbm(["stack", "images.npy", "-o", "maps.h5", *small, *layers]) == 0
    assert rbm(["train", "images.npy", "-o", "one.h5", *small, "--conv", "4x3x4"]) == 0
    sizes = []
    for name in ("one.h5", "maps.h5"):
        numbers = [[]] if name == "one.h5" else [["--layer", str(n)] for n in range(3)]
        for layer in numbers:
            options = [*layer, "--columns", "2", "--force"]
            assert without_captions(name, "-o", "a.gif", *options) == 0
            frames, size = frames_and_size("a.gif")
            assert frames == 3
            sizes.append(size)
    assert sizes[0] == sizes[1] == (1 + 2 * 5, 1 + 2 * 4)
    assert sizes[2] == (1 + 2 * 6, 1 + 3 * 5)
    assert sizes[3][1] == 1 + 9
    assert without_captions("one.h5", "-o", "a.png") == 0
    with Image.open("a.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 16)
    grey = all(len(set(colour)) == 1 for _, colour in colours)
    assert grey == (len(shape) == 2)


def test_a_run_in_progress(folder):
    with write_run(folder / "running.h5", epochs=[0, 1], finish=False):
        assert rbm(["render-gif", "running.h5", "-o", "a.gif"]) == 0
    assert frames_and_size("a.gif")[0] == 2


def test_a_large_machine_is_cut_with_a_notice(folder, capsys):
    write_run(folder / "large.h5", epochs=[0], hidden=1030)
    assert without_captions("large.h5", "-o", "a.png") == 0
    assert frames_and_size("a.png")[1] == (289, 289)
    assert "large.h5: drawing the first 1024 of 1030 filters" in capsys.readouterr().err
    assert without_captions("large.h5", "-o", "b.png", "--filters", "all") == 0
    assert frames_and_size("b.png")[1][0] * frames_and_size("b.png")[1][1] > 1030 * 81
    assert "drawing" not in capsys.readouterr().err


def test_nothing_is_overwritten_without_force(folder, capsys):
    (folder / "a.gif").write_text("precious")
    assert rbm(["render-gif", "run.h5", "-o", "a.gif"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "a.gif").read_text() == "precious"
    assert rbm(["render-gif", "run.h5", "-o", "a.gif", "--force"]) == 0
    assert frames_and_size("a.gif")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.h5", "-o", "a.gif"], "missing.h5: no such file"),
        (["text.h5", "-o", "a.gif"], "text.h5: not an HDF5 file"),
        (["run.h5", "text.h5", "-o", "a.gif"], "text.h5: not an HDF5 file"),
        (["empty.h5", "-o", "a.gif"], "empty.h5: holds no filters yet"),
        (["run.h5", "-o", "a.tiff"], "a.tiff: "),
        (["run.h5", "-o", "nowhere/a.gif"], "nowhere/a.gif: there is no folder"),
        (["run.h5", "-o", "a.gif", "--filters", "6-9"], "run.h5: has no filter 6; it has 0 to 5"),
    ],
)
def test_problems_are_one_line(folder, capsys, arguments, problem):
    (folder / "text.h5").write_text("no run")
    write_run(folder / "empty.h5", epochs=[])
    before = sorted(folder.iterdir())
    assert rbm(["render-gif", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"rbm: error: {problem}")
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--filters", "x"],
        ["--filters", "0"],
        ["--filters", "5-4"],
        ["--fps", "0"],
        ["--scale", "0"],
        ["--every", "0"],
        ["--greys", "300"],
        ["--normalize", "some"],
    ],
)
def test_wrong_usage(folder, capsys, options):
    assert rbm(["render-gif", "run.h5", "-o", "a.gif", *options]) == 2
    assert options[0] in capsys.readouterr().err
    assert not (folder / "a.gif").exists()


def test_a_run_file_is_required(capsys):
    assert rbm(["render-gif", "-o", "a.gif"]) == 2
    assert "RUN.h5" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    assert rbm(["render-gif", "--help"]) == 0
    assert "rbm render-gif run.h5 -o filters.gif" in capsys.readouterr().out
