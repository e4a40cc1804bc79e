"""Files of images as their makers released them."""

import gzip
import io
import struct
from collections.abc import Callable
from random import Random

import numpy as np
import scipy.io

from seqio_tasks import image_files
from seqio_tasks.composition_images import clevr_store
from seqio_tasks.image_files import read_folder
from tests.fuzz.loop import Case
from tests.fuzz.mutation import mutated
from tests.fuzz.shapes import file_of, folder

COUNT = 4
_LABELS = np.arange(COUNT, dtype=np.uint8)


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def _alone(name: str, images: str, labels: str, other: bytes) -> Callable[[bytes], None]:
    """Reads a folder of images whose images are the input."""
    home = folder() / name
    home.mkdir(exist_ok=True)
    (home / labels).write_bytes(other)

    def parse(data: bytes) -> None:
        (home / images).write_bytes(data)
        read_folder(str(home), "train")

    return parse


def _mats() -> list[bytes]:
    images = np.zeros((32, 32, 3, 2), np.uint8)
    found = []
    for compressed in (False, True):
        file = io.BytesIO()
        told = {"X": images, "y": np.array([[1], [10]], np.uint8)}
        scipy.io.savemat(file, told, do_compression=compressed)
        found.append(file.getvalue())
    return found


def _changed_gzip(data: bytes, random: Random) -> bytes:
    plain = _idx(np.zeros((COUNT, 3, 3), np.uint8))
    return gzip.compress(mutated(plain, [], [], random), mtime=0)


def _mat(data: bytes) -> None:
    home = folder() / "svhn"
    home.mkdir(exist_ok=True)
    (home / "train_32x32.mat").write_bytes(data)
    read_folder(str(home), "train")


def _clevr(data: bytes) -> None:
    store = clevr_store(file_of(data, "clevr.npz"))
    store.fetch(np.arange(2))


def images() -> list[Case]:
    """IDX, npz, CIFAR-10's, MATLAB's, and CLEVR's."""
    pictures = np.zeros((COUNT, 3, 3), np.uint8)
    coloured, places = np.zeros((COUNT, 4, 4, 3), np.uint8), np.zeros((COUNT, 2), np.float32)
    image_files.CIFAR_IMAGES = 2  # in this process alone: a released file has 10,000
    cifar = folder() / "cifar"
    cifar.mkdir(exist_ok=True)
    for number in range(2, 6):
        (cifar / f"data_batch_{number}.bin").write_bytes(bytes(2 * 3073))

    def read_cifar(data: bytes) -> None:
        (cifar / "data_batch_1.bin").write_bytes(data)
        read_folder(str(cifar), "train")

    idx, zipped, npz = "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "kmnist-train-imgs.npz"
    return [
        Case("idx", lambda: [_idx(pictures)], _alone("a", idx, "train-labels-idx1-ubyte", _idx(_LABELS))),
        Case(
            "idx_gzip",
            lambda: [gzip.compress(_idx(pictures), mtime=0)],
            _alone("b", zipped, "train-labels-idx1-ubyte.gz", gzip.compress(_idx(_LABELS))),
            change=_changed_gzip,
        ),
        Case(
            "npz",
            lambda: [_npz(arr_0=pictures)],
            _alone("c", npz, "kmnist-train-labels.npz", _npz(arr_0=_LABELS)),
            words=(
                b"PK\x03\x04",
                b"PK\x01\x02",
                b"'shape': (9999999999, 9, 9)",
                b"|O",
                b"<f8",
                b"'fortran_order': True",
            ),
        ),
        Case("cifar", lambda: [bytes(2 * 3073)], read_cifar),
        Case("mat", _mats, _mat, words=(struct.pack("<II", 14, 1 << 31), struct.pack("<II", 15, 8), b"X", b"y")),
        Case(
            "clevr",
            lambda: [
                _npz(ims=coloured, coords_labels=places),
                _npz(arr_0=coloured, arr_1=np.arange(COUNT)),
                _npz(ims=coloured, coords_labels=np.zeros((COUNT, 3, 2))),
            ],
            _clevr,
            words=(b"PK\x03\x04", b"PK\x01\x02", b"'shape': (9999999999, 9, 9)", b"|O", b"<f8", b"(0,)", b"<M8[s]"),
        ),
    ]
