"""Sources: every format gives the same images; everything bad gives one line."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sources import numpy_files, open_source
from rbmcli.text import printable

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


# --- labels go with their part -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_test", "y_test"),
        ("X_valid", "y_valid"),
        ("test_images", "test_labels"),
        ("images_dev", "labels_dev"),
        ("XTest", "YTest"),
        ("xtest", "ytest"),
        ("testImages", "testLabels"),
        ("X_te", "labels_testing"),
        ("X_val", "y_validation"),
        ("test-images-idx3", "test-labels-idx3"),
        ("t10k_images", "t10k_labels"),
        ("x2", "y2"),
        ("images_a", "targets_a"),
    ],
)
@pytest.mark.parametrize("form", ["npz", "h5"])
def test_labels_of_the_same_part(images, labels, form, tmp_path):
    arrays = {
        "x_train": IMAGES,
        "y_train": np.full(12, 1),
        "images": IMAGES,
        "labels": np.full(12, 2),
        images: IMAGES,
        labels: np.full(12, 3),
    }
    path = tmp_path / f"x.{form}"
    if form == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    data = open_source(f"{path}:{images}")
    assert data.labels is not None
    assert set(data.labels) == {3}
    assert data.labels_from == labels
    assert set(open_source(f"{path}:x_train").labels) == {1}
    assert set(open_source(f"{path}:images").labels) == {2}


@pytest.mark.parametrize(
    ("images", "others"),
    [
        ("x_test", ["x_train", "y_train"]),
        ("x_test", ["x_train", "labels"]),
        ("test/images", ["train/images", "train/labels"]),
        ("x_valid", ["x_test", "y_test", "y_train"]),
        ("first", ["second", "labels"]),
        ("images", ["x_train", "y_train", "y_test"]),
    ],
)
def test_no_labels_where_it_cannot_be_told_whose_they_are(images, others, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in (images, *others):
            file[name] = np.arange(12) if "y_" in name or "labels" in name else IMAGES
    data = open_source(f"{tmp_path}/x.h5:{images}")
    assert data.labels is None
    assert any("no labels are used: it cannot be told" in notice for notice in data.notices)
    with pytest.raises(RbmError, match=r"cannot be told .* name them with --labels"):
        open_source(f"{tmp_path}/x.h5:{images}", only=[1])


def test_labels_in_another_folder_of_the_file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, part in enumerate(("train", "test")):
            file[f"images/{part}"] = IMAGES
            file[f"labels/{part}"] = np.full(12, number)
    assert set(open_source(f"{tmp_path}/x.h5:images/test").labels) == {1}


@pytest.mark.parametrize("name", ["only", "x_train", "images"])
def test_the_only_labels_are_those_of_the_only_images(name, tmp_path):
    np.savez(tmp_path / "x.npz", **{name: IMAGES, "labels": LABELS})
    data = open_source(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.labels_from == "labels"


def test_labels_of_another_length_are_never_used(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS[:-1])
    data = open_source(str(tmp_path / "x.npz"))
    assert data.labels is None
    assert "11 labels for 12 images" in data.notices[0]


def test_labels_that_cannot_be_read_do_not_stop_the_images(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.array(["cat", None] * 6))
    data = open_source(str(tmp_path / "x.npz"))
    assert data.labels is None
    assert "labels, are not used: " in data.notices[0]
    assert "Python objects" in data.notices[0]


def test_a_file_of_labels_is_asked_for_those_of_the_part(tmp_path):
    np.savez(tmp_path / "y.npz", y_train=LABELS, y_test=LABELS + 5)
    np.save(tmp_path / "x_test.npy", IMAGES)
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "set.npz", x_train=IMAGES, x_test=IMAGES)
    labels = str(tmp_path / "y.npz")
    for source in ("x_test.npy", "set.npz:x_test"):
        data = open_source(f"{tmp_path}/{source}", labels=labels)
        np.testing.assert_array_equal(data.labels, LABELS + 5)
    data = open_source(f"{tmp_path}/set.npz:x_train", labels=labels)
    np.testing.assert_array_equal(data.labels, LABELS)
    fails("':NAME'", "y_train, y_test", source=f"{tmp_path}/x.npy", labels=labels)
    np.savez(tmp_path / "y.npz", y_train=LABELS)
    fails("':NAME'", "y_train", source=f"{tmp_path}/x_test.npy", labels=labels)
    data = open_source(f"{tmp_path}/x.npy", labels=labels)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_labels_beyond_what_is_kept(tmp_path):
    np.save(tmp_path / "labels.npy", np.full(12, 2**63, np.uint64))
    fails("labels above", source=as_npy(tmp_path), labels=str(tmp_path / "labels.npy"))


# --- channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_behind_the_others_come_before_them(channels, dtype, tmp_path):
    images = RNG.integers(0, 256, (6, 5, 7, channels)).astype(dtype)
    np.save(tmp_path / "x.npy", images)
    data = open_source(str(tmp_path / "x.npy"))
    assert data.image_shape == (channels, 5, 7)
    np.testing.assert_array_equal(data.images, images.transpose(0, 3, 1, 2).reshape(6, -1))
    assert data.channels == "last"
    assert "--channels first" in data.notices[0]
    first = open_source(str(tmp_path / "x.npy"), channels="first")
    assert first.image_shape == (5, 7, channels)
    assert (first.channels, first.notices) == ("first", ())
    said = open_source(str(tmp_path / "x.npy"), channels="last")
    assert (said.channels, said.notices) == ("last", ())
    np.testing.assert_array_equal(said.images, data.images)


@pytest.mark.parametrize("shape", [(6, 3, 5, 7), (6, 3, 5, 3), (6, 1, 5, 4), (6, 5, 7, 2), (6, 7)])
def test_channels_that_are_first_or_not_told(shape, tmp_path):
    np.save(tmp_path / "x.npy", RNG.integers(0, 256, shape, np.uint8))
    data = open_source(str(tmp_path / "x.npy"))
    assert data.image_shape == shape[1:]
    assert (data.channels, data.notices) == ("first", ())


# --- headers that lie, and what small files may take -------------------------------------------


def header(text: str, values: bytes = bytes(10)) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + values


@pytest.mark.parametrize(
    ("descr", "fortran", "shape", "says"),
    [
        ("'|u1'", "False", "(2, 1000000000000)", "there are 10 bytes"),
        ("'|u1'", "False", "(2, 6)", "there are 10 bytes"),
        ("'|u1'", "False", "(2, 4)", "more follows its array"),
        ("'<f8'", "True", "(99999999999999999999, 2)", "there are 10 bytes"),
        ("'|u1'", "False", "(0, 99999999999999999999)", "which no array can have"),
        ("'<U0'", "False", "(1000000000, 100000)", "unreadable header"),
        ("'|u1'", "False", "(-2, -5)", "unreadable header"),
        ("'|u1'", "False", "(True, 10)", "unreadable header"),
        ("'|u1'", "1", "(2, 5)", "unreadable header"),
        ("'|u1'", "False", "(2, 5", "unreadable header"),
        ("'|O'", "False", "(2, 5)", "Python objects"),
        ("[('a', '|u1')]", "False", "(2, 5)", "holds records"),
        ("'|V1'", "False", "(2, 5)", "values of type |V1"),
        ("'<M8[s]'", "False", "(1, 1)", "datetime64[s]"),
        ("'<c8'", "False", "(1, 1)", "complex64 values"),
        ("'nonsense'", "False", "(2, 5)", "type 'nonsense'"),
        ("-" * 9000 + "1", "False", "(2, 5)", "unreadable header"),
        ("(" * 9000, "False", "(2, 5)", "unreadable header"),
    ],
    ids=range(18),
)
def test_headers_are_not_believed(descr, fortran, shape, says, tmp_path):
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    size = {"'<M8[s]'": 8, "'<c8'": 8}.get(descr, 10)
    source = write(tmp_path / "x.npy", header(text, bytes(size)))
    tracemalloc.start()
    try:
        fails("x.npy", says, source=source)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_headers_of_old_programs(tmp_path):
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 5L), }"
    assert open_source(write(tmp_path / "x.npy", header(text))).images.shape == (2, 5)


@pytest.mark.parametrize("dtype", [">i2", "<f2", ">f8", "?", "i8", "u4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_numpy_reads_them(dtype, order, tmp_path):
    values = np.asarray(RNG.integers(0, 2, (6, 3, 2, 4)).astype(dtype), order=order)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", a=values)
        found = numpy_files.read_array(tmp_path / "x.npz", "a")
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(numpy_files.read_npy(tmp_path / "x.npy"), values)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_with_tricks(tmp_path):
    import zipfile

    path = tmp_path / "x.npz"
    content = Path(as_npy(tmp_path)).read_bytes()

    def archive(*members: tuple[str, int]) -> str:
        with zipfile.ZipFile(path, "w") as file:
            for name, method in members:
                file.writestr(name, content, method)
        return str(path)

    fails("two arrays named 'a'", source=archive(("a.npy", 0), ("a.npy", 0)))
    fails("two arrays named 'a'", source=archive(("a.npy", 0), ("a", 0)))
    fails("another method than deflate", source=archive(("a.npy", zipfile.ZIP_BZIP2)))
    packed = bytearray(Path(archive(("a.npy", 0))).read_bytes())
    entry = packed.rfind(b"PK\1\2")
    encrypted = bytearray(packed)
    encrypted[entry + 8] |= 1
    fails("a is encrypted; write", source=write(path, bytes(encrypted)))
    struct.pack_into("<II", packed, entry + 20, 2**31, 2**31)  # sizes beyond the file's
    fails("damaged", source=write(path, bytes(packed)))
    fails("which array", source=archive(("a\x1b[31m.npy", 0), ("b.npy", 0)))


@pytest.mark.parametrize("form", ["gz", "npz"])
def test_a_small_file_does_not_take_gigabytes(form, tmp_path, monkeypatch):
    monkeypatch.setattr("rbmcli.io.sources.streams._LARGE", 1_000_000)
    blank = np.zeros((2000, 1000), np.uint8)
    path = tmp_path / f"x.{form}"
    if form == "gz":
        path.write_bytes(gzip.compress(idx_bytes(blank)))
    else:
        np.savez_compressed(path, blank)
    fails("unpack to 2000000, so nearly all of one value", source=str(path))


def test_bytes_behind_the_items_are_not_all_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("rbmcli.io.sources.idx._MOST_COUNTED", 1_000_000)
    content = gzip.compress(idx_bytes(IMAGES) + bytes(9_000_000))
    fails("more than 1000000 bytes follow", source=write(tmp_path / "x.gz", content))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("kind", [bytes, str])
def test_sparse_matrices_are_named(form, kind, tmp_path):
    """As scipy.sparse.save_npz writes them."""
    said = form.encode() if kind is bytes else form
    data = np.ones((30, 4, 4), np.float32)
    np.savez(tmp_path / "x.npz", format=np.array(said), shape=np.array([9, 9]), data=data)
    source = str(tmp_path / "x.npz")
    fails(f"sparse matrix of scipy ({form})", ".toarray()", source=source)
    fails("sparse matrix", source=source + ":data")
    fails("sparse matrix", source=as_npy(tmp_path), labels=source)


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "1"])
def test_transparent_pictures_are_laid_on_white(mode, tmp_path):
    """Strokes drawn in black on nothing, in each way that PNG can say so."""
    strokes = RNG.random((5, 4)) < 0.5
    strokes[0, :2] = [True, False]
    black = Image.new("RGB", (4, 5))
    options = {}
    if mode in ("RGBA", "LA"):
        black.putalpha(Image.fromarray((255 * strokes).astype(np.uint8)))
        black = black.convert(mode)
    else:
        shown = Image.fromarray(np.where(strokes, 0, 1 if mode == "P" else 255).astype(np.uint8))
        black = shown if mode == "P" else shown.convert(mode)
        if mode == "P":
            black.putpalette([0, 0, 0, 7, 7, 7])
        options["transparency"] = {"P": 1, "RGB": (255,) * 3, "L": 255, "1": 1}[mode]
    black.save(tmp_path / "a.png", **options)
    save_png(tmp_path / "b.png", IMAGES[0])
    data = open_source(str(tmp_path))
    np.testing.assert_array_equal(data.images[0].reshape(5, 4) < 128, strokes)
    np.testing.assert_array_equal(data.images[1], IMAGES[0].ravel())
    assert data.notices == (f"{tmp_path}: 1 picture with transparent parts, laid on white",)


def test_half_transparent_greys(tmp_path):
    Image.new("LA", (4, 5), (100, 51)).save(tmp_path / "a.png")
    assert set(open_source(str(tmp_path)).images.ravel()) == {224}  # 100 / 5 + 255 * 4 / 5


def test_pictures_that_could_be_transparent_and_are_not(tmp_path):
    Image.new("RGBA", (4, 5), (10, 20, 30, 255)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 5), (10, 20, 30)).save(tmp_path / "b.png")
    data = open_source(str(tmp_path))
    assert data.notices == ()
    np.testing.assert_array_equal(data.images[0], data.images[1])


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_pages_are_images(suffix, tmp_path):
    """Whatever the suffix says, the content tells."""
    pages = [Image.fromarray(image) for image in IMAGES[:7]]
    options = {"lossless": True} if suffix == "webp" else {}
    for folder, count in (("5", 1), ("3", 6)):
        (tmp_path / folder).mkdir()
        pages[0].save(
            tmp_path / folder / f"a.{suffix}", save_all=True, append_images=pages[1:count],
            **options,
        )  # fmt: skip
    data = open_source(str(tmp_path))
    if suffix == "png":
        np.testing.assert_array_equal(data.labels, [3, 5])
        assert data.notices == (f"{tmp_path}: 1 picture of several frames: the first is taken",)
        return
    np.testing.assert_array_equal(data.labels, [3] * 6 + [5])
    np.testing.assert_array_equal(data.images, IMAGES[[*range(6), 0]].reshape(7, 20))
    assert data.notices == (
        f"{tmp_path}: 1 file of several pages, 6 in all: each page is an image",
    )


def test_pages_are_read_in_any_order(tmp_path):
    pages = [Image.fromarray(image) for image in IMAGES[:6]]
    (tmp_path / "p").mkdir()
    pages[0].save(tmp_path / "p" / "a.gif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "labels.npy", np.array([0, 1, 0, 0, 1, 1]))
    data = open_source(f"{tmp_path}/p", labels=f"{tmp_path}/labels.npy", only=[1])
    np.testing.assert_array_equal(data.images, IMAGES[[1, 4, 5]].reshape(3, 20))


def test_smaller_copies_in_a_file_are_no_images(tmp_path):
    thumbnail = Image.fromarray(IMAGES[1, :2, :2])
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    picture = Image.fromarray(IMAGES[0])
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[thumbnail])
    data = open_source(str(tmp_path))
    np.testing.assert_array_equal(data.images, IMAGES[:1].reshape(1, 20))


def test_only_the_promised_formats_are_opened(tmp_path, monkeypatch):
    """Others start programs: Ghostscript, for one."""
    Image.new("RGB", (4, 5)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program is started"))
    fails("a.png", "none of BMP", source=str(tmp_path))
    Image.new("L", (4, 5)).save(tmp_path / "a.pcx")
    (tmp_path / "a.pcx").rename(tmp_path / "a.png")
    fails("a.png", "none of BMP", source=str(tmp_path))


def test_pictures_of_too_many_pixels(tmp_path, monkeypatch):
    Image.new("1", (9000, 8000)).save(tmp_path / "a.png")
    fails("a.png: 9000 x 8000 pixels, more than 64000000", source=str(tmp_path))
    content = bytearray((tmp_path / "a.png").read_bytes())
    struct.pack_into(">II", content, 16, 60000, 60000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    write(tmp_path / "a.png", bytes(content))
    fails("a.png: more than 64000000 pixels", source=str(tmp_path))


def test_frames_of_too_many_pixels(tmp_path):
    """Two thousand frames of a point each, on a canvas of 25 million."""
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x44\1\0"
    start = b"GIF89a" + struct.pack("<HH", 5000, 5000) + b"\x80\0\0" + bytes(6)
    write(tmp_path / "a.gif", start + frame * 2000 + b"\x3b")
    fails("a.gif", "unpack to 50000000000", source=str(tmp_path))


def test_libraries_say_nothing_themselves(tmp_path, capfd):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.tif", compression="tiff_lzw")
    with Image.open(tmp_path / "a.tif") as picture:
        strip = picture.tag_v2[273][0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[strip : strip + 8] = b"\xff" * 8
    write(tmp_path / "a.tif", bytes(content))
    fails("a.tif: not a readable picture", source=str(tmp_path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "folders", [["9" * 20, "1"], ["7", "07"]], ids=["too large", "twice the same"]
)
def test_folders_whose_numbers_are_no_labels(folders, tmp_path):
    for number, folder in enumerate(folders):
        save_png(tmp_path / folder / "a.png", IMAGES[number])
    data = open_source(str(tmp_path))
    np.testing.assert_array_equal(data.labels, [0, 1])
    assert data.notices[0].startswith("labels are sub-folders: 0 ")


def test_names_that_are_no_text(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    save_png(Path(folder) / "a.png", IMAGES[0])
    Path(folder, "b\udcfe.png").write_text("none")
    message = fails("not a readable picture", source=folder)
    assert printable(message).isprintable()


# --- what was read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (
            np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
            "4 images of 8x8, bytes 0 to 255 taken as 0 to 1",
        ),
        (np.eye(4, dtype=bool), "4 images of 4 values, bytes 0 to 1 taken as they are"),
        (np.array([[0.0, 0.5]]), "1 image of 2 values, numbers 0 to 0.5 taken as they are"),
        (np.array([[-3, 400]]), "1 image of 2 values, numbers -3 to 400 taken as they are"),
        (np.full((2, 3, 4), 51, "u1"), "2 images of 3x4, bytes 51 to 51 taken as 0.2 to 0.2"),
    ],
)
def test_what_was_read_in_a_line(images, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", images)
    assert open_source("x.npy").described() == f"x.npy: {says}, no labels"


def test_where_labels_are_from(tmp_path):
    source = as_npy(tmp_path)
    labels = labels_npy(tmp_path)
    assert open_source(source, labels=labels).described().endswith(f"labels from {labels}")
    (tmp_path / "p").mkdir()
    save_png(tmp_path / "p" / "1" / "a.png", IMAGES[0])
    described = open_source(str(tmp_path / "p")).described()
    assert described.endswith(", labels from its sub-folders")
    assert open_source("digits", limit=5).described() == (
        "digits: 5 images of 28x28, bytes 0 to 255 taken as 0 to 1, labels from digits"
    )


@pytest.mark.parametrize(
    ("images", "doubt"),
    [
        (np.zeros((600, 2, 2), np.uint8), "every value of every image is the same"),
        (np.arange(600).repeat(4).reshape(600, 4) / 600, "every image is blank"),
        (np.tile(np.arange(4), (600, 1)), "all images are the same"),
        (np.tile(np.arange(4), (600, 1)) + (np.arange(600) == 599)[:, None], None),
        (np.zeros((600, 4)) + np.eye(600, 4, -597), None),
        (np.arange(4).reshape(1, 4), None),
        (np.zeros((1, 4)), "every image is blank"),
    ],
)
def test_blank_images_are_doubted(images, doubt, tmp_path):
    np.save(tmp_path / "x.npy", images)
    found = open_source(str(tmp_path / "x.npy")).doubt
    assert found is None if doubt is None else found.startswith(doubt)


@pytest.mark.parametrize("fault", ["size", "damage", None])
def test_pictures_are_closed_again(fault, tmp_path):
    pages = [Image.fromarray(image) for image in IMAGES[:3]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    if fault == "size":
        save_png(tmp_path / "b.png", IMAGES[0].T)
    if fault == "damage":
        (tmp_path / "b.png").write_bytes(b"none")
    before = os.listdir("/proc/self/fd")
    caught = None  # which would keep alive what is not closed
    try:
        open_source(str(tmp_path))
    except RbmError as error:
        caught = error
    assert (caught is None) == (fault is None)
    assert len(os.listdir("/proc/self/fd")) == len(before)
