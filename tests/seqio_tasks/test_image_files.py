"""Released formats, written here byte by byte: what is right is read, and what is wrong is told in one line."""

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import scipy.io

from seqio_tasks import image_files, mat_files
from seqio_tasks.image_files import files_of, read_folder
from shammie.errors import UserError

COUNT = 12


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def npz(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


def example(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (COUNT, *shape), np.uint8), (np.arange(COUNT) * 7 % 10).astype(np.uint8)


def write_mnist(folder: Path, ending: str = "", dot: str = "-") -> tuple[np.ndarray, np.ndarray]:
    images, labels = example(5, 4)
    pack: Callable[[bytes], bytes] = gzip.compress if ending else bytes
    for stem, part in (("train", slice(None)), ("t10k", slice(0, 3))):
        (folder / f"{stem}-images{dot}idx3-ubyte{ending}").write_bytes(pack(idx(images[part])))
        (folder / f"{stem}-labels{dot}idx1-ubyte{ending}").write_bytes(pack(idx(labels[part])))
    return images, labels


def write_kmnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = example(5, 4)
    for one, part in (("train", slice(None)), ("test", slice(0, 3))):
        (folder / f"kmnist-{one}-imgs.npz").write_bytes(npz(images[part]))
        (folder / f"kmnist-{one}-labels.npz").write_bytes(npz(labels[part]))
    return images, labels


def write_cifar(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = example(3, 32, 32)
    records = np.concatenate([labels[:, None], images.reshape(COUNT, -1)], axis=1)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(records[2 * number - 2 : 2 * number].tobytes())
    (folder / "test_batch.bin").write_bytes(records[10:].tobytes())
    return images.transpose(0, 2, 3, 1), labels


def write_svhn(folder: Path, split: str = "train", compressed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    images, labels = example(32, 32, 3)
    told = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    both = {"X": images.transpose(1, 2, 3, 0), "y": told}
    scipy.io.savemat(folder / f"{split}_32x32.mat", both, do_compression=compressed)
    return images, labels


@pytest.fixture
def two_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "CIFAR_IMAGES", 2)


def check(found: tuple[np.ndarray, np.ndarray], images: np.ndarray, labels: np.ndarray) -> None:
    assert (found[0].dtype, found[1].dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)


@pytest.mark.parametrize(("ending", "dot"), [("", "-"), (".gz", "-"), ("", ".")])
def test_idx(tmp_path: Path, ending: str, dot: str) -> None:
    images, labels = write_mnist(tmp_path, ending, dot)
    check(read_folder(str(tmp_path), "train"), images[..., None], labels)
    check(read_folder(str(tmp_path), "test"), images[:3, ..., None], labels[:3])
    assert files_of(str(tmp_path), "test") == [
        f"{tmp_path}/t10k-images{dot}idx3-ubyte{ending}",
        f"{tmp_path}/t10k-labels{dot}idx1-ubyte{ending}",
    ]


def test_npz(tmp_path: Path) -> None:
    images, labels = write_kmnist(tmp_path)
    check(read_folder(str(tmp_path), "train"), images[..., None], labels)
    check(read_folder(str(tmp_path), "test"), images[:3, ..., None], labels[:3])


def test_cifar(tmp_path: Path, two_records: None) -> None:
    images, labels = write_cifar(tmp_path)
    check(read_folder(str(tmp_path), "train"), images[:10], labels[:10])
    check(read_folder(str(tmp_path), "test"), images[10:], labels[10:])


@pytest.mark.parametrize("compressed", [False, True])
def test_svhn_where_10_is_0(tmp_path: Path, compressed: bool) -> None:
    images, labels = write_svhn(tmp_path, "extra", compressed)
    assert 0 in labels
    check(read_folder(str(tmp_path), "extra"), images, labels)


def test_any_file_system() -> None:
    images, labels = example(5, 4)
    memory = fsspec.filesystem("memory")
    memory.pipe("/mnist-of-test/train-images-idx3-ubyte.gz", gzip.compress(idx(images)))
    memory.pipe("/mnist-of-test/train-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
    try:
        check(read_folder("memory://mnist-of-test", "train"), images[..., None], labels)
    finally:
        memory.rm("/mnist-of-test", recursive=True)


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BAD_IDX = {
    "magic": (IMAGES, lambda d: b"\0\0\x0d\3" + d[4:], "images-idx3-ubyte begins with 00000d03, not 00000803"),
    "labels for images": (IMAGES, lambda d: b"\0\0\x08\1" + d[4:], "begins with 00000801, not 00000803"),
    "cut": (IMAGES, lambda d: d[:-1], "is cut short: 239 bytes of 240"),
    "cut header": (IMAGES, lambda d: d[:9], "is cut short: 5 bytes of 12"),
    "empty": (IMAGES, lambda d: b"", "is cut short: 0 bytes of 4"),
    "more": (IMAGES, lambda d: d + b"x", "has more bytes than its header tells of"),
    "huge": (IMAGES, lambda d: d[:4] + b"\xff" * 12 + d[16:], r"claims 79228162458924105385300197375 bytes, more than"),
    "large": (
        IMAGES,
        lambda d: d[:4] + struct.pack(">3I", 2**15, 2**8, 2**8) + d[16:],
        "cut short: 240 bytes of 214748",
    ),
    "counts": (LABELS, lambda d: idx(np.zeros(5, np.uint8)), "has 12 images and .*labels-idx1-ubyte 5 labels"),
    "label": (LABELS, lambda d: d[:-1] + b"\x0a", "labels-idx1-ubyte has a label 10, not 0 to 9"),
}


@pytest.mark.parametrize("case", BAD_IDX)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_that_is_wrong(tmp_path: Path, case: str, ending: str) -> None:
    write_mnist(tmp_path, ending)
    name, change, said = BAD_IDX[case]
    pack = (lambda d: gzip.compress(change(gzip.decompress(d)))) if ending else change
    spoil(tmp_path / f"{name}{ending}", pack)
    said = said.replace("ubyte", "ubyte.gz" if ending else "ubyte")
    with pytest.raises(UserError, match=said) as caught:
        read_folder(str(tmp_path), "train")
    assert "\n" not in str(caught.value)
    assert "download" in caught.value.cure


@pytest.mark.parametrize("cut", [1, 8, 60])
def test_gzip_that_is_cut(tmp_path: Path, cut: int) -> None:
    write_mnist(tmp_path, ".gz")
    spoil(tmp_path / f"{IMAGES}.gz", lambda d: d[:-cut])
    with pytest.raises(UserError, match=r"ubyte\.gz is (damaged|cut short)"):
        read_folder(str(tmp_path), "train")


def test_gzip_with_another_checksum(tmp_path: Path) -> None:
    write_mnist(tmp_path, ".gz")
    spoil(tmp_path / f"{IMAGES}.gz", lambda d: d[:-8] + bytes([d[-8] ^ 1]) + d[-7:])
    with pytest.raises(UserError, match=r"ubyte\.gz is damaged: CRC"):
        read_folder(str(tmp_path), "train")


def test_claims_take_no_memory(tmp_path: Path) -> None:
    """2 GiB are within the limit, but not there."""
    write_mnist(tmp_path)
    spoil(tmp_path / IMAGES, lambda d: d[:4] + struct.pack(">3I", 2**15, 2**8, 2**8) + d[16:])
    kmnist = tmp_path / "kmnist"
    kmnist.mkdir()
    write_kmnist(kmnist)
    (kmnist / "kmnist-train-imgs.npz").write_bytes(npz_claiming((2**15, 2**8, 2**8)))
    tracemalloc.start()
    try:
        for folder in (tmp_path, kmnist):
            with pytest.raises(UserError):
                read_folder(str(folder), "train")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def npz_claiming(shape: tuple[int, ...], descr: str = "|u1", name: str = "arr_0.npy") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": descr})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, header.getvalue() + bytes(240))
    return file.getvalue()


BAD_NPZ = {
    "no zip": (b"not a zip at all", "is damaged: File is not a zip file"),
    "cut": (npz(np.zeros((12, 5, 4), np.uint8))[:-30], "is damaged"),
    "name": (npz_claiming((12, 5, 4), name="images.npy"), "is damaged: .*arr_0.npy"),
    "floats": (npz_claiming((12, 5, 1), "<f4"), r"holds float32 \[12, 5, 1\], not bytes of 3 dimensions"),
    "objects": (npz_claiming((12, 5, 1), "|O"), r"has arr_0 object \[12, 5, 1\], not an array of numbers"),
    "dimensions": (npz_claiming((12, 20)), r"holds uint8 \[12, 20\], not bytes of 3 dimensions"),
    "huge": (npz_claiming((2**40, 2**40, 3)), r"claims \d+ bytes, more than the \d+ that it can hold"),
    "more": (npz_claiming((11, 5, 4)), "has more bytes than its header tells of"),
    "counts": (npz(np.zeros((11, 5, 4), np.uint8)), "has 11 images and .* 12 labels"),
    "negative": (npz_claiming((-1, 5, 4)), r"has arr_0 uint8 \[-1, 5, 4\], not an array of numbers"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_npz_that_is_wrong(tmp_path: Path, case: str) -> None:
    write_kmnist(tmp_path)
    data, said = BAD_NPZ[case]
    (tmp_path / "kmnist-train-imgs.npz").write_bytes(data)
    with pytest.raises(UserError, match=f"kmnist-train-imgs.npz {said}") as caught:
        read_folder(str(tmp_path), "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d[:-1], "data_batch_3.bin is cut short: 6145 bytes of 6146"),
        (lambda d: d[:3073], "data_batch_3.bin is cut short: 3073 bytes of 6146"),
        (lambda d: d + b"x", "data_batch_3.bin has more bytes"),
        (lambda d: b"\x0b" + d[1:], "data_batch_3.bin has a label 11, not 0 to 9"),
    ],
)
def test_cifar_that_is_wrong(tmp_path: Path, two_records: None, change: Callable[[bytes], bytes], said: str) -> None:
    write_cifar(tmp_path)
    spoil(tmp_path / "data_batch_3.bin", change)
    with pytest.raises(UserError, match=said):
        read_folder(str(tmp_path), "train")


def test_cifars_pickles_are_refused(tmp_path: Path) -> None:
    for name in ("batches.meta", "data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match=r"Python version, whose pickles can run anything .* take the binary version"):
        read_folder(str(tmp_path), "train")


BAD_SVHN = {
    "no labels": ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "has no variables X and y, only X"),
    "counts": (
        {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1), np.uint8)},
        r"has y \[3, 1\] for 2 images",
    ),
    "shape": (
        {"X": np.zeros((32, 32, 2, 3), np.uint8), "y": np.ones((3, 1), np.uint8)},
        r"has X uint8 \[32, 32, 2, 3\], not uint8 \[32, 32, 3, M\]",
    ),
    "label 0": ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [0]], np.uint8)}, "not 1 to 10"),
    "label 11": ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [11]], np.uint8)}, "not 1 to 10"),
    "floats": ({"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1), np.uint8)}, "has X float64"),
    "a text": ({"X": "images", "y": np.ones((2, 1), np.uint8)}, "damaged: X is no array of real numbers"),
    "label floats": ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.full((2, 1), 1.5)}, "not 1 to 10"),
}


@pytest.mark.parametrize("case", BAD_SVHN)
def test_svhn_that_is_wrong(tmp_path: Path, case: str) -> None:
    variables, said = BAD_SVHN[case]
    scipy.io.savemat(tmp_path / "train_32x32.mat", variables, do_compression=True)
    with pytest.raises(UserError, match=f"train_32x32.mat .*{said}"):
        read_folder(str(tmp_path), "train")


MAT_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda d: d[:-40],
    "cut early": lambda d: d[:200],
    "empty": lambda d: b"",
    "MATLAB 7.3": lambda d: d[:124] + b"\0\2" + d[126:],
    "not zlib": lambda d: d[:200] + bytes(100) + d[300:],
}


@pytest.mark.parametrize(
    ("case", "compressed"),
    # without zlib the format has no checksum: other pixels are other images
    [(case, packed) for case in MAT_DAMAGE for packed in (False, True) if packed or case != "not zlib"],
)
def test_mat_that_is_damaged(tmp_path: Path, case: str, compressed: bool) -> None:
    write_svhn(tmp_path, compressed=compressed)
    spoil(tmp_path / "train_32x32.mat", MAT_DAMAGE[case])
    with pytest.raises(UserError, match=r"train_32x32\.mat is damaged: ") as caught:
        read_folder(str(tmp_path), "train")
    assert "\n" not in str(caught.value)
    assert ("it is of MATLAB 7.3" in str(caught.value)) == (case == "MATLAB 7.3")


def test_mat_that_claims_much_takes_no_memory(tmp_path: Path) -> None:
    write_svhn(tmp_path, compressed=False)
    path = tmp_path / "train_32x32.mat"
    dims = struct.pack("<4i", 32, 32, 3, COUNT)
    assert path.read_bytes().count(dims) == 1
    spoil(path, lambda d: d.replace(dims, struct.pack("<4i", 32, 32, 3, 2**31 - 1)))
    with pytest.raises(UserError, match=r"train_32x32.mat"):
        read_folder(str(tmp_path), "train")
    count = struct.pack("<2i", COUNT, 1)
    spoil(path, lambda d: d.replace(count, struct.pack("<2i", 2**31 - 1, 1)))
    with pytest.raises(UserError, match=r"damaged: X claims 6597069763584 bytes, more than the \d+ of room"):
        read_folder(str(tmp_path), "train")


def test_a_compressed_matrix_that_is_not_as_long_as_its_tag_tells(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    good = path.read_bytes()
    kind, size = struct.unpack_from("<II", good, 128)
    assert kind == mat_files.COMPRESSED
    matrix, rest = zlib.decompress(good[136 : 136 + size]), good[136 + size :]

    def spoiled(inner: bytes, change: Callable[[bytes], bytes] = bytes) -> None:
        packed = change(zlib.compress(inner))
        path.write_bytes(good[:128] + struct.pack("<II", kind, len(packed)) + packed + rest)

    spoiled(matrix)
    assert len(read_folder(str(tmp_path), "train")[0]) == COUNT
    long = len(matrix) - 8 + 8
    for inner, said in (
        (matrix[:4] + struct.pack("<I", 2**32 - 1) + matrix[8:], "X claims 4294967295 bytes, more than"),
        (matrix[:4] + struct.pack("<I", long) + matrix[8:], f"X has not the {long} bytes that its tag tells of"),
        (matrix + bytes(8), f"X has not the {long - 8} bytes that its tag tells of"),
        (matrix[:-1], f"X has not the {long - 8} bytes that its tag tells of"),
    ):
        spoiled(inner)
        with pytest.raises(UserError, match=f"train_32x32.mat is damaged: {said}"):
            read_folder(str(tmp_path), "train")
    for change, said in (
        (lambda d: d[:-4], f"X has not the {long - 8} bytes"),  # all is there but its checksum
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "Error -3 .* incorrect data check"),
    ):
        spoiled(matrix, change)
        with pytest.raises(UserError, match=f"train_32x32.mat is damaged: {said}"):
            read_folder(str(tmp_path), "train")


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images that are known; give a folder with MNIST's IDX files"):
        read_folder(str(tmp_path), "train")
    write_mnist(tmp_path)
    with pytest.raises(UserError, match="has no split 'extra'; there are: train, test"):
        read_folder(str(tmp_path), "extra")
    (tmp_path / LABELS).unlink()
    with pytest.raises(UserError, match="lacks train-labels-idx1-ubyte; put it beside"):
        read_folder(str(tmp_path), "train")


def test_files_without_images(tmp_path: Path) -> None:
    (tmp_path / IMAGES).write_bytes(idx(np.zeros((0, 5, 4), np.uint8)))
    (tmp_path / LABELS).write_bytes(idx(np.zeros(0, np.uint8)))
    with pytest.raises(UserError, match="holds no images"):
        read_folder(str(tmp_path), "train")
