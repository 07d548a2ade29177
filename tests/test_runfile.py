"""The run file: what is written is read, by whom, when, and at what cost."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import signal
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from crash import toy

from rbmcli.errors import RbmError
from rbmcli.io import lock, sectionwriter
from rbmcli.io.hdf5_image import FileImage
from rbmcli.io.parts import Part
from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter
from rbmcli.io.sectionwriter import SectionWriter

HIDDEN, IMAGE = 3, (2, 4)
CONFIG = {"hidden": HIDDEN, "learning-rate": "0.1", "only": [7], "limit": None}
DATA = {"source": "digits", "sha256": 32 * "0f", "shape": [10, 2, 4]}

#: A file of a single machine, and one of a stack.
either = pytest.mark.parametrize("plan", [toy.machine, toy.stack])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crash.toy"])
    return context


def create(path: Path, **options: object) -> RunWriter:
    return RunWriter.create(path, config=CONFIG, data=DATA, image_shape=IMAGE, **options)


def begin(writer: RunWriter, key: str = "", hidden: int = HIDDEN) -> SectionWriter:
    return writer.begin(key, config={"hidden": hidden}, snapshot_shape=(hidden, *IMAGE))


def filters(value: float, hidden: int = HIDDEN) -> np.ndarray:
    return np.full((hidden, *IMAGE), value, np.float32)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


STATE = {
    "model/weights": np.arange(24, dtype=np.float32).reshape(8, 3),
    "model/visible_bias": np.zeros(8, np.float32),
    "chains/hidden": np.ones((5, 3), np.uint8),
    "chains/none": np.zeros((0, 3), np.uint8),
    "trainer/step": 2**40,
    "trainer/seed": 2**63 - 1,
    "trainer/rate": 0.1,
    "trainer/algorithm": "cd — é",
    "trainer/done": False,
}


def test_round_trip(path):
    with create(path) as writer:
        machine = begin(writer)
        machine.snapshot(0, filters(0))
        machine.snapshot(0.5, filters(1))
        machine.record({"epoch": 1, "error": 2.5, "gap": np.nan}, {"seconds": 3})
        machine.checkpoint(STATE)
        writer.finish()
    with RunReader(path) as run:
        assert (run.name, run.version, run.finished, run.in_progress) == ("run", 2, True, False)
        assert (run.config, run.data, run.image_shape) == (CONFIG, DATA, IMAGE)
        assert set(run.state) == set(STATE)
        for name, value in STATE.items():
            found = run.state[name]
            assert type(found) is type(value)
            assert np.array_equal(found, value)
            assert run.state.shape_and_dtype(name)[0] == np.shape(value)
        assert run.state["model/weights"].dtype == np.float32
        assert run.metrics.dtype.names == ("epoch", "error", "gap")
        assert run.metrics["error"].tolist() == [2.5]
        assert np.isnan(run.metrics["gap"][0])
        assert run.wall_clock["seconds"].tolist() == [3]
        assert run.filters_epoch.tolist() == [0, 0.5]
        assert run.filters.dtype == np.float32
        assert np.array_equal(run.filters, [filters(0), filters(1)])
        with pytest.raises(KeyError):
            run.state["filters"]


def test_names_that_other_programs_rely_on(path):
    toy.run(path, toy.machine(1, 2), "finish")
    with h5py.File(path) as file:
        assert file.attrs["format"] == "rbm run"
        assert file.attrs["version"] == 2
        assert json.loads(file.attrs["config"]) == {"seed": 1}
        assert file["model/weights"].shape == (toy.VISIBLE, toy.HIDDEN[""])
        assert file["filters"].shape == (17, toy.HIDDEN[""], *toy.IMAGE)
        assert file["filters"].chunks is None
        assert file["filters_epoch"].shape == (17,)
        assert file["metrics"]["epoch"].tolist() == [1, 2]
        assert file["metrics_wall_clock"].dtype.names == ("seconds",)


def test_before_anything_is_recorded(path):
    with create(path) as writer:
        begin(writer).checkpoint({})
        with RunReader(path) as run:
            assert run.filters.shape == (0, HIDDEN, *IMAGE)
            assert len(run.metrics) == len(run.wall_clock) == len(run.filters_epoch) == 0
        writer.stop()
    with RunWriter.resume(path) as writer:
        machine = writer.section("")
        machine.snapshot(0, filters(1))
        machine.record({"epoch": 1, "error": 2}, {"seconds": 3})
        machine.checkpoint({})
        writer.finish()
    with RunReader(path) as run:
        assert np.array_equal(run.filters, [filters(1)])
        assert run.metrics["error"].tolist() == [2]


@either
def test_interrupted_file_is_the_uninterrupted_one(tmp_path, monkeypatch, plan):
    monkeypatch.setattr(toy.time, "time", lambda: 0.0)
    whole, broken = tmp_path / "whole.h5", tmp_path / "broken.h5"
    toy.run(whole, plan(1, 12), "finish")
    for epochs, end in enumerate(["close", "stop", "finish", "close", "close", "stop"]):
        toy.run(broken, plan(1, 2 * epochs), end)
    toy.run(broken, plan(1, 12), "finish")
    assert whole.read_bytes() == broken.read_bytes()
    assert names(tmp_path) == {"whole.h5", "broken.h5"}


@either
def test_short_writes(path, monkeypatch, plan):
    """A write may take fewer bytes than it is given."""
    real_write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real_write(file, data[:100], at))
    toy.run(path, plan(1, 3), "finish")
    assert toy.same(toy.contents(path), toy.expected(plan(1, 3)))


def test_file_image(tmp_path):
    """Behaves as a file does, and is written as it is."""
    chance, image, plain = random.Random(1), FileImage(), io.BytesIO()
    for _ in range(300):
        if chance.random() < 0.7:
            position = chance.randrange(1000)
            image.seek(position)
            plain.seek(position)
        data = chance.randbytes(chance.randrange(1, 30))
        assert image.write(data) == plain.write(data)
        position = chance.randrange(len(plain.getvalue()))
        expected = plain.getvalue()[position : position + 40]
        image.seek(position)
        found = bytearray(len(expected))
        image.readinto(found)
        assert found == expected
        plain.seek(image.tell())
    image.truncate(1200)
    assert image.seek(0, os.SEEK_END) == 1200
    path = tmp_path / "image"
    with path.open("wb") as file:
        image.write_to(file.fileno())
    assert path.read_bytes() == plain.getvalue().ljust(1200, b"\0")


def test_only_checkpoints_count(path):
    with create(path) as writer:
        machine = begin(writer)
        machine.snapshot(0, filters(0))
        machine.checkpoint({"trainer/step": 1})
        machine.snapshot(1, filters(1))
        machine.record({"epoch": 1}, {"seconds": 1})
        writer.stop()
    with RunReader(path) as run:
        assert len(run.filters) == 1
        assert len(run.metrics) == 0


def read_until_finished(path: Path, ready: Path) -> int:
    """Read with plain h5py and with RunReader; return how many checkpoints were seen."""
    seen, finished = set(), False
    ready.touch()
    while not finished:
        found = toy.contents(path)
        assert toy.same(found, toy.expected(toy.plan_of(found)))
        with RunReader(path) as run:
            plan, finished = check_checkpoint(run), run.finished
            seen.add(plan)
    return len(seen)


def check_checkpoint(run: RunReader) -> toy.Plan:
    """Compare state and filters of an open file with what they must be; return its plan."""
    found = {
        toy.in_file(key, name): value
        for key, section in run.sections.items()
        for name, value in (*section.state.items(), ("filters", section.filters))
    }
    plan = toy.plan_of(found)
    wanted = toy.expected(plan)
    assert all(np.array_equal(found[name], wanted[name]) for name in found)
    return plan


@either
def test_readers_during_training(path, processes, plan):
    toy.run(path, plan(1, 0), "close")
    with ProcessPoolExecutor(2, processes) as pool:
        ready = [path.with_name("ready-1"), path.with_name("ready-2")]
        readings = [pool.submit(read_until_finished, path, each) for each in ready]
        while not all(each.exists() for each in ready):
            time.sleep(0.01)
        toy.run(path, plan(1, 40), "close")
        time.sleep(0.1)  # so that whoever still reads does not read an earlier checkpoint
        toy.run(path, plan(1, 40), "finish")
        assert all(reading.result() > 1 for reading in readings)


@either
def test_reader_keeps_its_checkpoint(path, plan):
    toy.run(path, plan(1, 2), "close")
    with RunReader(path) as run:
        toy.run(path, plan(1, 4), "finish")
        assert names(path.parent) == {"run.h5"}
        assert check_checkpoint(run) == plan(1, 2)


@either
def test_reader_that_opens_while_filters_are_gathered(path, monkeypatch, plan):
    """The parts vanish between the opening of the file and that of the parts."""
    toy.run(path, plan(1, 2), "close")
    real_open = h5py.File
    opened = []

    def open_then_finish(name, mode="r"):
        file = real_open(name, mode)
        if not opened:
            opened.append(name)
            monkeypatch.undo()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(lock, "_READERS", 0)
                toy.run(path, plan(1, 2), "finish")
        return file

    monkeypatch.setattr("rbmcli.io.confined.h5py.File", open_then_finish)
    monkeypatch.setattr("rbmcli.io.runfile.probe", lambda read: None)
    with RunReader(path) as run:
        assert opened
        assert check_checkpoint(run) == plan(1, 2)


def test_missing_part(path):
    toy.run(path, toy.machine(1, 2), "close")
    (path.parent / "run.h5.filters.0").unlink()
    with RunReader(path) as run:
        assert run.state["trainer/epoch"] == 2
        with pytest.raises(RbmError, match=r"run\.h5\.filters\.0, which is missing"):
            _ = run.filters
    assert np.isnan(toy.contents(path)["filters"][:8]).all()
    with pytest.raises(RbmError, match="which is missing"):
        RunWriter.resume(path)
    assert not lock.is_locked(path)


def test_gathered_stack_that_goes_on(path):
    """The file it was is a part of each of its layers, and is missed by each."""
    toy.run(path, toy.stack(1, 3), "finish")
    toy.run(path, (*toy.stack(1, 3)[:1], ("layers/1", 1, 2)), "close")
    was, new = "run.h5.filters.1", "run.h5.filters.0"
    assert names(path.parent) == {"run.h5", was, new}
    with RunReader(path) as run:
        assert run.beside == [was, new]
        below, above = run.layers
        assert below.parts == [Part(was, 9, "layers/0/filters")]
        assert above.parts == [Part(was, 9, "layers/1/filters"), Part(new, 8)]
    path.with_name(was).unlink()
    with RunReader(path) as run:
        for section in run.layers:
            assert section.state["trainer/seed"] == 1
            with pytest.raises(RbmError, match=f"{was}, which is missing"):
                _ = section.filters
    with pytest.raises(RbmError, match="which is missing"):
        RunWriter.resume(path)
    assert not lock.is_locked(path)


def test_gathered_stack_dropped_before_its_next_snapshot(path):
    """Then the file it was is the last part of the layer that goes on."""
    toy.run(path, toy.stack(1, 3), "finish")
    with RunReader(path) as run:
        state = dict(run.sections["layers/1"].state)
    with RunWriter.resume(path) as writer:
        writer.section("layers/1").checkpoint(state)
    plan = (*toy.stack(1, 3)[:1], ("layers/1", 1, 2))
    toy.run(path, plan, "finish")
    assert toy.same(toy.contents(path), toy.expected(plan))
    assert names(path.parent) == {"run.h5"}


def test_renamed_run_keeps_its_filters(path, processes):
    """A new run under the old name takes nothing from one that was killed and then renamed."""
    old = path.with_name("old.h5")
    kill_writer(path, processes)
    path.rename(old)
    toy.run(path, toy.machine(2, 3), "finish")
    with RunReader(old) as run:
        assert np.array_equal(run.filters, [filters(1)])
    with RunWriter.resume(old) as writer:
        machine = writer.section("")
        machine.snapshot(1, filters(2))
        machine.checkpoint({})
        writer.finish()
    with RunReader(old) as run:
        assert np.array_equal(run.filters, [filters(1), filters(2)])
    assert toy.same(toy.contents(path), toy.expected(toy.machine(2, 3)))


def test_parts_stay_few(path):
    """However often a run is dropped, the next goes on with its last part."""
    for epoch in range(40):
        toy.run(path, toy.machine(1, epoch), "close")
    assert toy.same(toy.contents(path), toy.expected(toy.machine(1, 39)))
    with RunReader(path) as run:
        assert len(run.filters) == 1 + 39 * toy.SNAPSHOTS_AN_EPOCH
        assert [part.rows for part in run.sections[""].parts] == [8, 8, 16, 32, 64, 128, 57]


def test_copied_run(path):
    """Two copies of a run file whose filters are in the same part go different ways."""
    copy = path.with_name("copy.h5")
    with create(path) as writer:
        machine = begin(writer)
        machine.snapshot(0, filters(0))
        machine.checkpoint({})
    copy.write_bytes(path.read_bytes())
    with RunWriter.resume(path) as writer, RunWriter.resume(copy) as other:
        for each, value in ((writer, 1), (other, 2)):
            each.section("").snapshot(1, filters(value))
            each.section("").checkpoint({})
        other.finish()
        with RunReader(path) as run:
            assert np.array_equal(run.filters, [filters(0), filters(1)])
        with RunReader(copy) as run:
            assert np.array_equal(run.filters, [filters(0), filters(2)])


@pytest.mark.parametrize("name", ["50%.h5", "%b.h5", "%%.h5", "sp ace", "é\n.h5"])
@either
def test_names(tmp_path, name, plan):
    path = tmp_path / name
    for epochs, end in ((1, "close"), (2, "stop"), (3, "close"), (4, "finish")):
        toy.run(path, plan(1, epochs), end)
        assert toy.same(toy.contents(path), toy.expected(plan(1, epochs)))
    assert names(tmp_path) == {name}


@either
def test_link_to_a_run_file(path, tmp_path, plan):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "link.h5"
    link.symlink_to(path)
    toy.run(link, plan(1, 2), "close")
    assert link.is_symlink()
    assert toy.same(toy.contents(link), toy.expected(plan(1, 2)))
    with RunReader(link) as run:
        assert check_checkpoint(run) == plan(1, 2)
    assert names(folder) == {"link.h5"}


@either
def test_file_system_without_hard_links(path, monkeypatch, plan):
    def refuse(*_: object) -> None:
        raise PermissionError

    toy.run(path, plan(1, 2), "stop")
    monkeypatch.setattr(os, "link", refuse)
    toy.run(path, plan(1, 3), "finish")
    assert toy.same(toy.contents(path), toy.expected(plan(1, 3)))
    assert names(path.parent) == {"run.h5"}


def test_existing_file(path):
    path.write_text("precious")
    with pytest.raises(RbmError, match="exists already"):
        create(path)
    with create(path, force=True) as writer:
        begin(writer).snapshot(0, filters(0))
        assert path.read_text() == "precious"
    assert path.read_text() == "precious"
    with create(path, force=True) as writer:
        begin(writer).checkpoint({})
    with create(path, force=True) as writer:
        writer.finish()
    with RunReader(path) as run:
        assert not run.finished
    assert names(path.parent) == {"run.h5"}


def test_outputs_that_cannot_be(tmp_path):
    with pytest.raises(RbmError, match="no folder"):
        create(tmp_path / "missing" / "run.h5")
    with pytest.raises(RbmError, match="a folder"):
        create(tmp_path, force=True)
    with pytest.raises(RbmError, match="no such file"):
        RunWriter.resume(tmp_path / "run.h5")
    with pytest.raises(RbmError, match="UTF-8"):
        create(tmp_path / os.fsdecode(b"\xff.h5"))
    assert not names(tmp_path)


def test_two_writers(path):
    with create(path) as writer:
        with pytest.raises(RbmError, match="not there yet: its run is under way"):
            RunReader(path)
        begin(writer).checkpoint({})
        with RunReader(path) as run:
            assert run.in_progress
        for attempt in (create, partial(create, force=True), RunWriter.resume):
            with pytest.raises(RbmError, match=f"process {os.getpid()} on .* is writing it"):
                attempt(path)
    assert names(path.parent) == {"run.h5"}
    with RunReader(path) as run:
        assert not run.in_progress


def write_and_wait(path: Path, written: Path) -> None:
    writer = create(path)
    machine = begin(writer)
    machine.snapshot(0, filters(1))
    machine.checkpoint({})
    written.touch()
    signal.pause()


def kill_writer(path: Path, processes) -> None:
    """Leave a run file with one snapshot whose writer was killed; while alive it refuses others."""
    written = path.with_name("written")
    writer = processes.Process(target=write_and_wait, args=(path, written))
    writer.start()
    while not written.exists():
        writer.join(0.01)
    written.unlink()
    with pytest.raises(RbmError, match=f"process {writer.pid} on .* is writing it"):
        RunWriter.resume(path)
    writer.kill()
    writer.join()


def test_lock_of_a_killed_process(path, processes):
    kill_writer(path, processes)
    path.with_name("run.h5.tmp").touch()
    assert names(path.parent) == {"run.h5", "run.h5.filters.0", "run.h5.lock", "run.h5.tmp"}
    RunWriter.resume(path).close()
    assert names(path.parent) == {"run.h5", "run.h5.filters.0"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text("no HDF5"), "not an HDF5 file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "its end, .*, is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "damaged HDF5 file"),
        (lambda path: flip(path, 1000), "its structure has changed"),
        (lambda path: path.write_bytes(b""), "not an HDF5 file"),
        (lambda path: h5py.File(path, "w").close(), "not a run file"),
        (lambda path: set_attribute(path, "format", np.arange(3)), "not a run file"),
        (lambda path: set_attribute(path, "version", 3), "version 3, .* version 2"),
        (lambda path: set_attribute(path, "version", "x"), "version is no whole number"),
        (
            lambda path: set_attribute(path, "finished", True),
            "another program opened it for writing",
        ),
        (lambda path: set_attribute(path, "config", "{"), "opened it for writing"),
        (lambda path: delete(path, "filters"), "opened it for writing"),
    ],
)
def test_files_that_are_no_run_files(path, spoil, message):
    toy.run(path, toy.machine(1, 1), "finish")
    spoil(path)
    check_refused(path, message)


@pytest.mark.parametrize("name", ["layers/0", "layers/1/filters", "layers/0/metrics"])
def test_damaged_stacks(path, name):
    toy.run(path, toy.stack(1, 3), "finish")
    set_attribute(path, "version", 1)  # whose files have no checksums
    delete(path, name)
    check_refused(path, "damaged run file")


def check_refused(path: Path, message: str) -> None:
    for opening in (RunReader, RunWriter.resume):
        with pytest.raises(RbmError, match=message) as failure:
            opening(path)
        assert "\n" not in str(failure.value)
        assert str(path) in str(failure.value)


def set_attribute(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        file.attrs[name] = value


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def delete(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file[name]


def test_wrong_use(path):
    with create(path) as writer:
        machine = begin(writer)
        with pytest.raises(ValueError, match="shape"):
            machine.snapshot(0, filters(0, hidden=HIDDEN + 1))
        machine.record({"epoch": 1}, {"seconds": 1})
        with pytest.raises(ValueError, match="columns"):
            machine.record({"epoch": 1, "other": 1}, {"seconds": 1})


def test_order_of_sections(path):
    def refused(writer: RunWriter, *keys: str) -> None:
        for key in keys:
            with pytest.raises(ValueError, match="cannot follow"):
                begin(writer, key)

    with create(path) as writer:
        refused(writer, "layers/1", "up-down", "layers/x", "other")
        begin(writer, "layers/0")
        refused(writer, "", "layers/0", "layers/2")
        begin(writer, "layers/1")
        begin(writer, "up-down")
        refused(writer, "", "layers/2", "up-down")
        with pytest.raises(ValueError, match="cannot become"):
            writer.rename("", "layers/0")
    with create(path) as writer:
        begin(writer, "")
        refused(writer, "", "layers/0", "layers/1", "up-down")
        with pytest.raises(ValueError, match="cannot become"):
            writer.rename("", "layers/1")


def test_sections(path):
    """Each holds its own, and is read by names of its own."""
    keys = [f"layers/{index}" for index in range(11)] + ["up-down"]
    with create(path) as writer:
        for index, key in enumerate(keys):
            section = begin(writer, key, index + 1)
            section.snapshot(index, filters(index, index + 1))
            section.record({"epoch": index}, {"seconds": index})
            section.checkpoint({"model/index": index}, finished=index % 2 == 0)
            with RunReader(path) as run:
                assert list(run.sections) == keys[: index + 1]
        writer.finish()
    with RunReader(path) as run:
        assert (run.config, run.data, run.image_shape, run.finished) == (CONFIG, DATA, IMAGE, True)
        assert not run.beside
        assert list(run.sections) == keys
        assert [section.key for section in run.layers] == keys[:-1]
        for index, (key, section) in enumerate(run.sections.items()):
            assert (section.path, section.name) == (path, f"run {key}")
            assert section.config == {"hidden": index + 1}
            assert section.finished == (index % 2 == 0)
            assert dict(section.state) == {"model/index": index}
            assert np.array_equal(section.filters, [filters(index, index + 1)])
            assert section.filters_epoch.tolist() == [index]
            assert section.metrics["epoch"].tolist() == [index]
            assert section.wall_clock["seconds"].tolist() == [index]
        assert run.state["model/index"] == 0
        assert np.array_equal(run.filters, run.sections["layers/0"].filters)


def test_a_checkpoint_is_of_one_section(path):
    """What another section has recorded since its own counts from its next one on."""
    with create(path) as writer:
        below, above = begin(writer, "layers/0"), begin(writer, "layers/1", 5)
        below.snapshot(0, filters(0))
        below.checkpoint({"trainer/step": 1})
        below.snapshot(1, filters(1))
        below.record({"epoch": 1}, {"seconds": 1})
        above.checkpoint({"trainer/step": 2})
        with RunReader(path) as run:
            assert [section.state["trainer/step"] for section in run.layers] == [1, 2]
            assert [len(section.filters) for section in run.layers] == [1, 0]
            assert len(run.metrics) == 0
        below.checkpoint({"trainer/step": 3})
        writer.stop()
    with RunReader(path) as run:
        assert [section.state["trainer/step"] for section in run.layers] == [3, 2]
        assert np.array_equal(run.filters, [filters(0), filters(1)])
        assert len(run.metrics) == 1


def test_resumed_sections_may_change_their_options(path):
    toy.run(path, toy.stack(1, 2), "finish")
    with RunWriter.resume(path) as writer:
        writer.config = {"epochs": 7}
        writer.section("layers/1").config = {"epochs": 8}
        writer.section("layers/1").checkpoint({})
        with RunReader(path) as run:
            assert not run.finished
            assert [section.finished for section in run.layers] == [True, False]
        writer.stop()
    with RunReader(path) as run:
        assert run.config == {"epochs": 7}
        assert [section.config for section in run.layers] == [
            {"section": "layers/0"},
            {"epochs": 8},
        ]


@pytest.mark.parametrize("end", ["finish", "stop", "close"])
def test_a_machine_becomes_a_layer(path, end):
    toy.run(path, toy.machine(1, 2), end)
    before = path.read_bytes()
    with RunReader(path) as run:
        config, finished = run.config, run.finished
    with RunWriter.resume(path) as writer:
        writer.rename("", "layers/0")
        writer.config = {"layers": 2}
        begin(writer, "layers/1").snapshot(0, filters(0))
        writer.stop()
    assert path.read_bytes() == before  # nothing counts before a checkpoint
    assert toy.same(toy.contents(path), toy.expected(toy.machine(1, 2)))
    with RunWriter.resume(path) as writer:
        writer.rename("", "layers/0")
        writer.config = {"layers": 2}
        above = begin(writer, "layers/1")
        above.snapshot(0, filters(0))
        above.checkpoint({"trainer/epoch": 0})
        writer.finish()
    assert names(path.parent) == {"run.h5"}
    with RunReader(path) as run:
        assert list(run.sections) == ["layers/0", "layers/1"]
        assert run.config == {"layers": 2}
        assert (run.layers[0].config, run.layers[0].finished) == (config, finished)
        assert np.array_equal(run.layers[1].filters, [filters(0)])
    found = toy.contents(path)
    for name, value in toy.expected((("layers/0", 1, 2),)).items():
        assert np.array_equal(found[name], value)


@pytest.mark.parametrize("below", [0, 50])
def test_cost_of_a_checkpoint_does_not_grow(path, monkeypatch, below):
    """Its bytes are the states', a snapshot's, and what is recorded of each in the tables.

    below: snapshots of a layer that was trained before.
    """
    hidden, costs, real_write = 100, [0], os.pwrite

    def count(descriptor: int, data: memoryview, offset: int) -> int:
        costs[-1] += len(data)
        return real_write(descriptor, data, offset)

    def train(section: SectionWriter, epochs: int) -> None:
        for epoch in range(epochs):
            costs.append(0)
            section.snapshot(epoch, filters(epoch, hidden))
            section.record({"epoch": epoch}, {"seconds": epoch})
            section.checkpoint({"model/weights": np.zeros((8, hidden), np.float32)})

    monkeypatch.setattr(os, "pwrite", count)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with create(path) as writer:
        if below:
            train(begin(writer, "layers/0", hidden), below)
        train(begin(writer, "layers/1" if below else "", hidden), 201)
    tables, sections = 3 * 8 + 4, 2 if below else 1
    assert costs[-1] - costs[-101] < 100 * tables + 200
    one = filters(0, hidden).nbytes
    assert costs[-1] < (1 + sections) * one + (below + 201) * tables + 20_000 * sections


def test_memory(path, monkeypatch):
    """A checkpoint takes a block of memory, and so does the end, whatever states and filters."""
    hidden = 10_000
    monkeypatch.setattr(sectionwriter, "_BLOCK", 1 << 20)
    state = {f"model/{name}": np.zeros((256, hidden + 1), np.float32)[:, 1:] for name in "ab"}
    size = sum(array.nbytes for array in state.values())
    with create(path) as writer:
        machine, one = begin(writer, hidden=hidden), filters(1, hidden)
        tracemalloc.start()
        for epoch in range(60):
            machine.snapshot(epoch, one)
        assert size > 10 << 20
        machine.checkpoint(state)
        checkpoint = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        writer.finish()
        end = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert checkpoint < 3 << 20
    assert end < 3 << 20
