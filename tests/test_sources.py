"""Sources: every format gives the same images; everything bad gives one line."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sources import open_source

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
LABELS = np.arange(12) % 3

IDX_CODES = {">u1": 0x08, ">i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array: np.ndarray, dtype: str = ">u1", shape: tuple[int, ...] | None = None) -> bytes:
    """An IDX file of `array`, whose header may be made to lie about the shape."""
    counts = shape or array.shape
    header = struct.pack(f">BBBB{len(counts)}I", 0, 0, IDX_CODES[dtype], len(counts), *counts)
    return header + array.astype(dtype).tobytes()


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def fails(*fragments: str, source: str, **options: object) -> str:
    """Open a source that must be refused, in one line that holds all `fragments`."""
    with pytest.raises(RbmError) as caught:
        open_source(source, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    return message


def save_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


# --- the formats -------------------------------------------------------------------------------


def as_idx(folder: Path) -> str:
    return write(folder / "plain", idx_bytes(IMAGES))


def as_gzip_idx(folder: Path) -> str:
    return write(folder / "any-name.bin", gzip.compress(idx_bytes(IMAGES)))


def as_npy(folder: Path) -> str:
    np.save(folder / "x.npy", IMAGES)
    return str(folder / "x.npy")


def as_fortran_npy(folder: Path) -> str:
    np.save(folder / "x.npy", np.asfortranarray(IMAGES))
    return str(folder / "x.npy")


def as_npz(folder: Path) -> str:
    np.savez_compressed(folder / "x.npz", anything=IMAGES)
    return str(folder / "x.npz")


def as_named_npz(folder: Path) -> str:
    np.savez(folder / "x.npz", a=IMAGES[:2], b=IMAGES)
    return str(folder / "x.npz") + ":b"


def as_hdf5(folder: Path) -> str:
    with h5py.File(folder / "x.h5", "w") as file:
        file["group/only"] = IMAGES
    return str(folder / "x.h5")


def as_named_hdf5(folder: Path) -> str:
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("group/deep", data=IMAGES, chunks=True, compression="gzip")
        file["other"] = IMAGES[:2]
    return str(folder / "x.h5") + ":/group/deep"


def as_folder(folder: Path) -> str:
    for number, pixels in enumerate(IMAGES):
        save_png(folder / "pictures" / f"{number:03}.png", pixels)
    (folder / "pictures" / "README.txt").write_text("not a picture")
    (folder / "pictures" / ".hidden.png").write_text("not a picture either")
    return str(folder / "pictures")


FORMATS = [
    as_idx,
    as_gzip_idx,
    as_npy,
    as_fortran_npy,
    as_npz,
    as_named_npz,
    as_hdf5,
    as_named_hdf5,
    as_folder,
]


@pytest.mark.parametrize("make", FORMATS)
def test_every_format_gives_the_same_images(make, tmp_path):
    source = make(tmp_path)
    data = open_source(source)
    assert data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    np.testing.assert_array_equal(data.images, IMAGES.reshape(12, 20))
    assert data.image_shape == (5, 4)
    assert data.scale == 255.0
    assert data.labels is None
    assert data.source == source
    assert data.notices == ()


@pytest.mark.parametrize("dtype", IDX_CODES)
def test_idx_element_types(dtype, tmp_path):
    values = np.array([[0, 1, 2], [100, 7, 9]])
    data = open_source(write(tmp_path / "x", idx_bytes(values, dtype)))
    assert data.images.dtype == (np.float32 if "f" in dtype else np.uint8)
    np.testing.assert_array_equal(data.images, values)


@pytest.mark.parametrize(
    ("dtype", "values", "stored", "scale"),
    [
        (np.bool_, [0, 1, 1, 0], np.uint8, 1.0),
        (np.uint8, [0, 2, 1, 0], np.uint8, 255.0),
        (np.int64, [0, 255, 3, 4], np.uint8, 255.0),
        (np.int64, [0, 256, 3, 4], np.float32, 1.0),
        (np.int16, [-1, 2, 3, 4], np.float32, 1.0),
        (np.float16, [0, 0.5, 1, 2], np.float32, 1.0),
        (np.float32, [0, 0.25, 1, -2], np.float32, 1.0),
        (">f8", [0, 0.25, 1, -2], np.float32, 1.0),
    ],
)
def test_types_become_bytes_or_float32(dtype, values, stored, scale, tmp_path):
    np.save(tmp_path / "x.npy", np.array(values, dtype).reshape(2, 2))
    data = open_source(str(tmp_path / "x.npy"))
    assert data.images.dtype == stored
    assert data.images.dtype.isnative
    np.testing.assert_array_equal(data.images.ravel(), values)
    assert data.scale == scale
    assert data.notices == ()


def test_bytes_of_0_and_1_are_read_as_0_and_1_with_a_notice(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0, 1], [0, 0]], np.uint8))
    data = open_source(str(tmp_path / "x.npy"), limit=1)
    assert data.scale == 1.0
    assert len(data.notices) == 1
    assert "0/1" in data.notices[0]
    np.save(tmp_path / "zero-first.npy", np.array([[0, 0], [0, 200]], np.uint8))
    # What is kept does not change how the values are read.
    assert open_source(str(tmp_path / "zero-first.npy"), limit=1).scale == 255.0


def test_images_of_several_channels_keep_their_shape(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = IMAGES.reshape(2, 3, 10, 4)
    data = open_source(str(tmp_path / "x.h5"))
    assert data.images.shape == (2, 120)
    assert data.image_shape == (3, 10, 4)


@pytest.mark.parametrize("name", ["images", "features", "x_train", "data"])
def test_usual_names_are_found_among_others(name, tmp_path):
    np.savez(tmp_path / "x.npz", **{"other": IMAGES[:3], name: IMAGES})
    assert len(open_source(str(tmp_path / "x.npz")).images) == 12
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/other"] = IMAGES[:3]
        file[name] = IMAGES
    assert len(open_source(str(tmp_path / "x.h5")).images) == 12


# --- labels and selection ----------------------------------------------------------------------


def labels_idx(folder: Path) -> str:
    return write(folder / "labels", gzip.compress(idx_bytes(LABELS)))


def labels_npy(folder: Path) -> str:
    np.save(folder / "labels.npy", LABELS.astype(np.int16))
    return str(folder / "labels.npy")


def labels_npz(folder: Path) -> str:
    np.savez(folder / "labels.npz", images=IMAGES, labels=LABELS)
    return str(folder / "labels.npz")


def labels_hdf5(folder: Path) -> str:
    with h5py.File(folder / "labels.h5", "w") as file:
        file["a/b"] = LABELS
        file["c"] = LABELS[:3]
    return str(folder / "labels.h5") + ":/a/b"


@pytest.mark.parametrize("make", [labels_idx, labels_npy, labels_npz, labels_hdf5])
def test_labels_from_every_array_format(make, tmp_path):
    data = open_source(as_npy(tmp_path), labels=make(tmp_path))
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.labels, LABELS)


def test_labels_beside_the_images_are_picked_up(tmp_path):
    np.savez(tmp_path / "x.npz", first=IMAGES, labels=LABELS)
    np.testing.assert_array_equal(open_source(str(tmp_path / "x.npz")).labels, LABELS)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["part/images"] = IMAGES
        file["part/labels"] = LABELS
        file["labels"] = LABELS[::-1]
    np.testing.assert_array_equal(open_source(f"{tmp_path}/x.h5:part/images").labels, LABELS)


def test_labels_the_user_names_win_over_those_beside(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    np.save(tmp_path / "mine.npy", LABELS + 5)
    data = open_source(str(tmp_path / "x.npz"), labels=str(tmp_path / "mine.npy"))
    np.testing.assert_array_equal(data.labels, LABELS + 5)


def test_labels_beside_that_do_not_fit_are_passed_over_with_a_notice(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.eye(12))
    data = open_source(str(tmp_path / "x.npz"))
    assert data.labels is None
    assert "(12, 12)" in data.notices[0]


def test_only_and_limit_keep_the_first_with_those_labels(tmp_path):
    data = open_source(as_npy(tmp_path), labels=labels_npy(tmp_path), only=[2, 1], limit=3)
    np.testing.assert_array_equal(data.images, IMAGES.reshape(12, 20)[[1, 2, 4]])
    np.testing.assert_array_equal(data.labels, [1, 2, 1])


def test_limit_copies_only_what_it_keeps(tmp_path):
    data = open_source(as_npy(tmp_path), labels=labels_npy(tmp_path), limit=5)
    np.testing.assert_array_equal(data.images, IMAGES.reshape(12, 20)[:5])
    np.testing.assert_array_equal(data.labels, LABELS[:5])
    assert data.images.base is None
    assert len(open_source(as_npy(tmp_path), limit=100).images) == 12


def test_subfolders_are_labels(tmp_path):
    for number, pixels in enumerate(IMAGES[:3]):
        save_png(tmp_path / ["10", "2", "2"][number] / f"{number}.png", pixels)
    data = open_source(str(tmp_path))
    np.testing.assert_array_equal(data.labels, [10, 2, 2])
    np.testing.assert_array_equal(data.images, IMAGES[:3].reshape(3, 20))
    assert data.notices == ()
    (tmp_path / "10").rename(tmp_path / "zebra")
    (tmp_path / "empty").mkdir()
    data = open_source(str(tmp_path))
    np.testing.assert_array_equal(data.labels, [0, 0, 1])
    np.testing.assert_array_equal(data.images, IMAGES[[1, 2, 0]].reshape(3, 20))
    assert data.notices == ("labels are sub-folders: 0 2, 1 zebra",)


def test_pictures_in_colour_are_read_as_grey(tmp_path):
    Image.new("RGB", (4, 5), (255, 0, 0)).save(tmp_path / "a.jpg")
    Image.new("1", (4, 5), 1).save(tmp_path / "b.gif")
    data = open_source(str(tmp_path))
    assert data.image_shape == (5, 4)
    assert abs(int(data.images[0, 0]) - 76) <= 2  # 0.299 x 255: the luma of pure red
    assert (data.images[1] == 255).all()


# --- provenance and memory ---------------------------------------------------------------------


def test_provenance_is_of_the_content(tmp_path):
    data = open_source(as_gzip_idx(tmp_path), labels=labels_npy(tmp_path))
    assert data.provenance() == {
        "source": data.source,
        "shape": [12, 5, 4],
        "dtype": "uint8",
        "sha256": hashlib.sha256(IMAGES.tobytes()).hexdigest(),
        "labels_sha256": hashlib.sha256(LABELS.astype(np.int64).tobytes()).hexdigest(),
    }
    assert "labels_sha256" not in open_source(as_npy(tmp_path)).provenance()


def test_loading_and_hashing_need_little_more_than_the_images(tmp_path):
    images = np.tile(RNG.integers(0, 256, (100, 784), dtype=np.uint8), (200, 1))
    source = write(tmp_path / "x.gz", gzip.compress(idx_bytes(images), 1))
    tracemalloc.start()
    try:
        data = open_source(source)
        data.provenance()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data.images.nbytes == 15_680_000
    assert peak < data.images.nbytes + 4_000_000


# --- bad input ---------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_the_named_sets(tmp_path):
    fails("gone.gz", "no such file", "fashion-mnist", source=str(tmp_path / "gone.gz"))
    fails("nmist", "no such file", source="nmist")


def test_truncated_gzip(tmp_path):
    content = gzip.compress(idx_bytes(IMAGES))
    for end in (len(content) // 2, len(content) - 4):
        fails("cut.gz", "truncated", source=write(tmp_path / "cut.gz", content[:end]))


def test_gzip_whose_checksum_differs(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[-8] ^= 1
    fails("bad.gz", "damaged", "CRC", source=write(tmp_path / "bad.gz", bytes(content)))


def test_gzip_with_corrupt_data(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[10] = 0xFF
    fails("bad.gz", "damaged", source=write(tmp_path / "bad.gz", bytes(content)))


@pytest.mark.parametrize(
    "start", [b"\x01\x00\x08\x03", b"\x00\x00\x08\x00", b"\x00\x00\x08\xff", b"\x00\x00"]
)
def test_idx_with_a_wrong_magic_number(start, tmp_path):
    content = start + idx_bytes(IMAGES)[4:] if len(start) == 4 else start
    says = "magic number" if start.startswith(b"\0\0") else "a format that is not known"
    fails(says, source=write(tmp_path / "x", content))
    fails(says, source=write(tmp_path / "x.gz", gzip.compress(content)))


def test_an_empty_file(tmp_path):
    fails("is empty", source=write(tmp_path / "x", b""))


def test_idx_of_an_unknown_element_type(tmp_path):
    content = b"\x00\x00\x0a" + idx_bytes(IMAGES)[3:]
    fails("0x0a", "0x08", source=write(tmp_path / "x", content))


def test_idx_that_ends_within_its_header(tmp_path):
    fails("header", source=write(tmp_path / "x", idx_bytes(IMAGES)[:10]))


def test_idx_of_no_items(tmp_path):
    content = idx_bytes(IMAGES[:0], shape=(0, 2**32 - 1, 2**32 - 1))
    fails("holds nothing", source=write(tmp_path / "x", content))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("count", [13, 4_000_000_000])
def test_idx_whose_count_is_larger_than_the_file(pack, count, tmp_path):
    content = idx_bytes(IMAGES, shape=(count, 5, 4))
    fails(str(count), "holds 12;", source=write(tmp_path / "x", pack(content)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_with_trailing_bytes(pack, tmp_path):
    fails("3 bytes follow", source=write(tmp_path / "x", pack(idx_bytes(IMAGES) + b"abc")))


def test_labels_of_another_length(tmp_path):
    np.save(tmp_path / "labels.npy", LABELS[:-1])
    labels = str(tmp_path / "labels.npy")
    fails(labels, "11 labels", "12 images", source=as_npy(tmp_path), labels=labels)


@pytest.mark.parametrize(
    ("labels", "fragment"), [(np.eye(12, dtype=int), "(12, 12)"), (np.ones(12), "float64")]
)
def test_labels_that_are_no_whole_numbers_in_a_row(labels, fragment, tmp_path):
    np.save(tmp_path / "labels.npy", labels)
    labels = str(tmp_path / "labels.npy")
    fails("labels.npy", fragment, source=as_npy(tmp_path), labels=labels)


def test_labels_from_a_folder(tmp_path):
    fails("is a folder", source=as_npy(tmp_path), labels=str(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(value, tmp_path, monkeypatch):
    monkeypatch.setattr("rbmcli.io.sources.prepare._CHECKED_TOGETHER", 40)
    values = np.zeros((6, 5, 4))
    values[3, 2, 1] = value
    values[5, 0, 0] = value
    np.save(tmp_path / "x.npy", values)
    source = str(tmp_path / "x.npy")
    fails("x.npy", "values: 2,", "image 3", "position (2, 1)", source=source)


def test_objects_and_pickles_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1, None]]), allow_pickle=True)
    fails("Python objects", source=str(tmp_path / "x.npy"))
    np.savez(tmp_path / "x.npz", images=np.array([[1, None]]))
    fails("Python objects", source=str(tmp_path / "x.npz"))
    fails("is a pickle", source=write(tmp_path / "p.npy", pickle.dumps(IMAGES)))


@pytest.mark.parametrize("values", [np.array([["a"]]), np.array([[1j]]), np.zeros((2, 2), "i4,f4")])
def test_values_that_are_no_numbers(values, tmp_path):
    np.save(tmp_path / "x.npy", values)
    fails(str(values.dtype), source=str(tmp_path / "x.npy"))


@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (4, 0)])
def test_too_few_dimensions_or_no_elements(shape, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    fails(str(shape), source=str(tmp_path / "x.npy"))


def test_damaged_numpy_files(tmp_path):
    source = as_npy(tmp_path)
    content = Path(source).read_bytes()
    fails("x.npy", "damaged", source=write(Path(source), content[:-3]))
    fails("x.npy", "damaged", source=write(Path(source), content[:9]))
    source = as_npz(tmp_path)
    content = bytearray(Path(source).read_bytes())
    fails("x.npz", "damaged", source=write(Path(source), bytes(content[:-30])))
    deflated = 30 + sum(struct.unpack_from("<HH", content, 26))  # after the member's own header
    content[deflated + 10] ^= 0xFF
    fails("x.npz", "damaged", source=write(Path(source), bytes(content)))
    content[deflated] = 0x07  # a kind of block that does not exist
    fails("x.npz", "damaged", "block type", source=write(Path(source), bytes(content)))


def test_a_zip_member_that_is_no_array(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images", "text")
    fails("zip archive of other files", source=str(tmp_path / "x.npz"))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive, archive.open("x.npy", "w") as file:
        np.save(file, IMAGES)
    fails("images is not an array", source=f"{tmp_path}/x.npz:images")
    assert len(open_source(f"{tmp_path}/x.npz:x").images) == 12


def test_damaged_hdf5(tmp_path):
    source = as_hdf5(tmp_path)
    content = Path(source).read_bytes()
    fails("x.h5", "cannot be read", source=write(Path(source), content[: len(content) // 2]))


def test_hdf5_data_set_of_nothing_or_of_text(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["nothing"] = h5py.Empty("f4")
        file["text"] = [["a", "b"]]
        file.create_group("group")
    source = str(tmp_path / "x.h5")
    fails("nothing is empty", source=source + ":nothing")
    fails("object values", source=source + ":/text")
    fails("no array 'group'", "nothing, text", source=source + ":/group")


def test_names_that_are_not_there_or_not_clear(tmp_path):
    source = as_named_npz(tmp_path).removesuffix(":b")
    fails("no array 'c'", "a, b", source=source + ":c")
    fails("':NAME'", "a, b", source=source)
    source = as_named_hdf5(tmp_path).removesuffix(":/group/deep")
    fails("no array 'c'", "group/deep, other", source=source + ":/c")
    fails("':NAME'", "group/deep, other", source=source)
    np.savez(tmp_path / "none.npz")
    fails("no arrays", source=str(tmp_path / "none.npz"))
    fails("single array", source=as_npy(tmp_path) + ":images")


def test_folder_without_pictures(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "notes.txt").write_text("")
    fails("no pictures", source=str(tmp_path))


def test_folder_with_pictures_on_two_levels(tmp_path):
    save_png(tmp_path / "a.png", IMAGES[0])
    save_png(tmp_path / "sub" / "b.png", IMAGES[0])
    fails("keep one", source=str(tmp_path))


def test_pictures_of_different_sizes(tmp_path):
    save_png(tmp_path / "a.png", IMAGES[0])
    save_png(tmp_path / "b.png", IMAGES[0].T)
    fails("b.png", "5 x 4", "a.png", "4 x 5", source=str(tmp_path))


def test_unreadable_pictures(tmp_path):
    save_png(tmp_path / "a.png", IMAGES[0])
    content = (tmp_path / "a.png").read_bytes()
    write(tmp_path / "b.png", b"no picture")
    fails("b.png", "not a readable picture", source=str(tmp_path))
    write(tmp_path / "b.png", content[:50])
    fails("b.png", "not a readable picture", source=str(tmp_path))
    Image.fromarray(IMAGES[0].astype(np.uint16) * 200).save(tmp_path / "b.png")
    fails("b.png", "more than 8 bits", source=str(tmp_path))


def test_only_without_labels(tmp_path):
    fails("needs labels", source=as_npy(tmp_path), only=[7])


def test_only_a_label_that_does_not_occur(tmp_path):
    labels = labels_npy(tmp_path)
    fails("label 7", "0, 1, 2", source=as_npy(tmp_path), labels=labels, only=[1, 7])


def test_limit_below_one(tmp_path):
    fails("limit of 0", source=as_npy(tmp_path), limit=0)
