"""Readers of image data sets' released files: MNIST's IDX, KMNIST's npz, CIFAR-10's binary version, SVHN's .mat.

    MNIST, Fashion-MNIST, KMNIST   train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-…; with or without .gz
    KMNIST                         kmnist-train-imgs.npz, kmnist-train-labels.npz, kmnist-test-…
    CIFAR-10                       data_batch_1.bin … data_batch_5.bin, test_batch.bin
    SVHN                           train_32x32.mat, test_32x32.mat, extra_32x32.mat

Files come from outside: nothing in them is run, and what a header claims is believed only as far as there are bytes.
M = examples, H x W = pixels, K = channels.
"""

import gzip
import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from seqio_tasks import mat_files
from seqio_tasks.npz_files import (
    CURE,
    DAMAGED,
    MOST_BYTES,
    MOST_RATIO,
    check_end,
    check_size,
    damaged,
    npz_array,
    read_exactly,
)
from shammie import files
from shammie.errors import UserError

CLASSES = 10
CIFAR_IMAGES, CIFAR_SHAPE = 10_000, (3, 32, 32)
IDX_NAMES = {"train": "train", "test": "t10k"}

Arrays = tuple[np.ndarray, np.ndarray]


def read_folder(folder: str, split: str) -> Arrays:
    """Reads the split of whichever released format a folder holds.

    Args:
        folder: local or on any fsspec file system.
        split: "train" or "test", or SVHN's "extra".

    Returns:
        Images, uint8 [M, H, W, K], and labels, int32 [M], from 0 to 9.

    Raises:
        UserError: no such format or split there; a file that is damaged or cut short, whose header is not the
            format's, whose labels are out of range, or whose images and labels are not as many.
    """
    reader, paths = _format_of(folder, split)
    images_MHWK, labels_M = reader(paths)
    if len(images_MHWK) != len(labels_M):
        raise UserError(
            f"{paths[0]} has {len(images_MHWK)} images and {paths[-1]} {len(labels_M)} labels",
            "download both again from where the data was released",
        )
    if not images_MHWK.size:
        raise UserError(f"{paths[0]} holds no images", CURE)
    if labels_M.min() < 0 or labels_M.max() >= CLASSES:
        wrong = int(labels_M[(labels_M < 0) | (labels_M >= CLASSES)][0])
        raise UserError(f"{paths[-1]} has a label {wrong}, not 0 to {CLASSES - 1}", CURE)
    return images_MHWK, labels_M.astype(np.int32)


def files_of(folder: str, split: str) -> list[str]:
    """The files that `read_folder` reads; UserError where there are none."""
    return _format_of(folder, split)[1]


def _format_of(folder: str, split: str) -> tuple[Callable[[list[str]], Arrays], list[str]]:
    """The reader of a folder's files, and their paths: images first, labels last."""
    there = set(files.list_directory(folder))
    found: dict[str, tuple[Callable[[list[str]], Arrays], list[str]]] = {}
    for one, stem in IDX_NAMES.items():
        for ending in ("", ".gz"):
            for dot in ("-", "."):  # mirrors write both
                names = [f"{stem}-images{dot}idx3-ubyte{ending}", f"{stem}-labels{dot}idx1-ubyte{ending}"]
                if names[0] in there or names[1] in there:
                    found.setdefault(one, (_read_idx, names))
    for one in ("train", "test"):
        names = [f"kmnist-{one}-imgs.npz", f"kmnist-{one}-labels.npz"]
        if there & set(names):
            found.setdefault(one, (_read_npz, names))
    cifar = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
    for one, names in cifar.items():
        if there & set(names):
            found.setdefault(one, (_read_cifar, names))
    for one in ("train", "test", "extra"):
        if f"{one}_32x32.mat" in there:
            found.setdefault(one, (_read_svhn, [f"{one}_32x32.mat"]))
    if split not in found and there & {"data_batch_1", "test_batch", "batches.meta"}:
        raise UserError(
            f"{folder} holds CIFAR-10's Python version, whose pickles can run anything that they say",
            "take the binary version, data_batch_1.bin and others (cifar-10-binary.tar.gz)",
        )
    if not found:
        raise UserError(
            f"{folder} holds no images that are known",
            "give a folder with MNIST's IDX files, KMNIST's npz, CIFAR-10's binary version or SVHN's .mat, unpacked",
        )
    if split not in found:
        raise UserError(f"{folder} has no split {split!r}", f"there are: {', '.join(found)}")
    reader, names = found[split]
    if missing := [name for name in names if name not in there]:
        raise UserError(f"{folder} lacks {missing[0]}", "put it beside the others")
    return reader, [files.join(folder, name) for name in names]


def _read_idx(paths: list[str]) -> Arrays:
    images_MHW, labels_M = _idx(paths[0], 3), _idx(paths[1], 1)
    return images_MHW[..., None], labels_M


def _idx(path: str, dimensions: int) -> np.ndarray:
    """An IDX file of bytes: two zeros, 8 for uint8, the number of dimensions, each as big-endian int32, the bytes."""
    with files.open_read(path) as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        try:
            magic = read_exactly(stream, 4, path)
            if magic != bytes([0, 0, 8, dimensions]):
                raise UserError(f"{path} begins with {magic.hex()}, not 0000080{dimensions}", CURE)
            shape = np.frombuffer(read_exactly(stream, 4 * dimensions, path), ">u4").tolist()
            check_size(path, math.prod(shape))
            data = read_exactly(stream, math.prod(shape), path)
            check_end(stream, path)  # which also makes gzip compare its checksum
        except UserError:
            raise
        except DAMAGED as error:
            raise damaged(path, error) from error
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_npz(paths: list[str]) -> Arrays:
    images_MHW, labels_M = _npz(paths[0], 3), _npz(paths[1], 1)
    return images_MHW[..., None], labels_M


def _npz(path: str, dimensions: int) -> np.ndarray:
    """The array "arr_0" of an npz file."""
    data = files.read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = npz_array(archive, "arr_0", path, len(data))
    except UserError:
        raise
    except DAMAGED as error:
        raise damaged(path, error) from error
    if found.dtype != np.uint8 or found.ndim != dimensions:
        raise UserError(f"{path} holds {found.dtype} {list(found.shape)}, not bytes of {dimensions} dimensions", CURE)
    return np.ascontiguousarray(found)


def _read_cifar(paths: list[str]) -> Arrays:
    """CIFAR-10's binary version: records of a label and 3 planes of 32 x 32 bytes, 10,000 in each file."""
    record = 1 + math.prod(CIFAR_SHAPE)
    images, labels = [], []
    for path in paths:
        with files.open_read(path) as stream:
            data = read_exactly(stream, record * CIFAR_IMAGES, path)
            check_end(stream, path)
        rows = np.frombuffer(data, np.uint8).reshape(CIFAR_IMAGES, record)
        if (most := int(rows[:, 0].max())) >= CLASSES:
            raise UserError(f"{path} has a label {most}, not 0 to {CLASSES - 1}", CURE)
        labels.append(rows[:, 0])
        images.append(rows[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1))
    return np.concatenate(images), np.concatenate(labels)


def _read_svhn(paths: list[str]) -> Arrays:
    """SVHN's cropped digits: "X" uint8 [32, 32, 3, M] and "y" [M, 1], where 10 stands for 0."""
    (path,) = paths
    data = files.read_bytes(path)
    try:
        found = mat_files.read_arrays(data, ("X", "y"), min(MOST_BYTES, MOST_RATIO * len(data)))
    except DAMAGED as error:
        raise damaged(path, error) from error
    if len(found) < 2:
        raise UserError(f"{path} has no variables X and y, only {', '.join(found) or 'others'}", CURE)
    images, labels = found["X"], found["y"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise UserError(f"{path} has X {images.dtype} {list(images.shape)}, not uint8 [32, 32, 3, M]", CURE)
    if labels.shape != (images.shape[3], 1):
        raise UserError(f"{path} has y {list(labels.shape)} for {images.shape[3]} images", CURE)
    if not np.isin(labels, np.arange(1, CLASSES + 1)).all():
        raise UserError(f"{path} has labels that are not 1 to 10, where 10 stands for 0", CURE)
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels[:, 0].astype(np.int64) % CLASSES
