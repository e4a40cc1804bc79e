"""Images that diffusion models are trained on, with what they are conditioned on. This module imports no TensorFlow.

    resident_images("digits", (8, 8, 1))            scikit-learn's; small enough to lie on the device
    resident_images("images:FOLDER", (28, 28, 1))   released files (`image_data.load_images`)
    image_store("clevr:FILE.npz")                   CLEVR positions: images that come with the rows
    image_store("tfds:imagenet_resized/64x64")      TensorFlow Datasets, prepared as ArrayRecord files

M = images, H x W = pixels, C = channels.
"""

import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.composition.sources import CLEVR, IMAGES, TFDS, Images
from seqio_tasks.image_data import load_images
from seqio_tasks.npz_files import DAMAGED, npz_array
from shammie import files
from shammie.errors import UserError

HELD_OUT_SHARE = 20  # one of so many images of a file without splits is held out: the last ones
IMAGE_NAMES = ("ims", "arr_0")  # arrays of CLEVR files: of positions (Liu et al. 2022), of classes of shapes
CONDITION_NAMES = ("coords_labels", "arr_1")


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Images that are fetched by number, on the host.

    Attributes:
        name: for people.
        count: those of training, numbered from 0; the held-out ones follow.
        held_out: how many are.
        shape: (H, W, C).
        classes: of the conditions where these are classes; else None.
        fetch: numbers, int64 [B], to images, uint8 [B, H, W, C], and conditions [B, …].
        digest: the sha256 that the data is known by; "" where a name and version say it.
    """

    name: str
    count: int
    held_out: int
    shape: tuple[int, ...]
    classes: int | None
    fetch: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    digest: str = ""

    def rows(self, rows_B2: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with their images: "targets" int32 [B, 2], "image" uint8 [B, H, W, C], "condition" [B, …].

        Draw d of a seed is the image at place d of its passes over the images of training, each in an order of its
        own; held-out draws, below 0, go over the held-out ones in order.
        """
        seeds_B, draws_B = rows_B2[:, 0].astype(np.int64), rows_B2[:, 1].astype(np.int64)
        places_B = np.where(draws_B < 0, self.count + (-1 - draws_B) % self.held_out, draws_B % self.count)
        for seed, epoch in {(int(s), int(d) // self.count) for s, d in zip(seeds_B, draws_B, strict=True) if d >= 0}:
            here_B = (seeds_B == seed) & (draws_B >= 0) & (draws_B // self.count == epoch)
            places_B[here_B] = _order(seed, epoch, self.count)[places_B[here_B]]
        image_BX, condition_B = self.fetch(places_B)
        return {"targets": rows_B2, "image": image_BX, "condition": condition_B}


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}


def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of `count` places; the two used last are kept, as a call of steps may cross an epoch's end."""
    key = (seed, epoch, count)
    if key not in _ORDERS:
        while len(_ORDERS) > 1:
            _ORDERS.pop(next(iter(_ORDERS)), None)
        _ORDERS[key] = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    return _ORDERS[key]


def resident_images(name: str, shape: tuple[int, ...]) -> Images:
    """Labelled images as a source draws from them: those of training, then those for testing.

    Args:
        name: "digits", or "images:" and what `image_data.load_images` takes: a folder, or tfds:NAME.
        shape: (H, W, C) that the images are brought to; H = W.

    Raises:
        UserError: no such data, or no square images asked for.
    """
    if len(shape) != 3 or shape[0] != shape[1]:
        raise UserError(f"images of {name} are asked for as {shape}", "set model.shape to (pixels, pixels, channels)")
    parts = [
        load_images(name.removeprefix(IMAGES), split, pixels=shape[0], channels=shape[2]) for split in ("train", "test")
    ]
    x_MX = np.concatenate([2.0 * part.x - 1.0 for part in parts]).astype(np.float32)
    labels_M = np.concatenate([part.labels for part in parts]).astype(np.int32)
    return Images(x_MX, labels_M, np.int32(len(parts[1].labels)))


def digest_of(images: Images) -> str:
    """The sha256 of resident images and their conditions, in hexadecimal."""
    told = hashlib.sha256(repr((images.x_MX.shape, str(images.x_MX.dtype), int(images.held_out))).encode())
    told.update(np.ascontiguousarray(images.x_MX).tobytes())
    told.update(np.ascontiguousarray(images.condition_M).tobytes())
    return told.hexdigest()


def check_classes(name: str, condition_M: np.ndarray, classes: int) -> None:
    """Raises UserError where a label is not one of so many classes."""
    if condition_M.size and not 0 <= condition_M.min() <= condition_M.max() < classes:
        wrong = int(condition_M[(condition_M < 0) | (condition_M >= classes)][0])
        raise UserError(f"{name} has a label {wrong}, not 0 to {classes - 1}", "raise model.condition.size")


@functools.lru_cache(maxsize=2)
def image_store(name: str) -> ImageStore:
    """The images of "clevr:FILE.npz" or "tfds:NAME", fetched by number.

    Raises:
        UserError: no such data, or other than it should be.
    """
    if name.startswith(CLEVR):
        return clevr_store(name.removeprefix(CLEVR))
    return tfds_store(name.removeprefix(TFDS))


def clevr_store(path: str) -> ImageStore:
    """CLEVR images with the position of one object of each, or its class.

    The file of Liu et al. 2022, clevr_pos_data_128_30000.npz, has `ims`, uint8 [M, 128, 128, 3], and `coords_labels`,
    float [M, 2], from 0 to 1; several objects, [M, K, 2 or 3], are taken too, and each draw takes one. The class of a
    shape is in `arr_0` and `arr_1`, int [M] or [M, 1]. The last twentieth is held out.

    Args:
        path: local or on any fsspec file system. It is read whole.

    Raises:
        UserError: no such file, or arrays that are not these.
    """
    images_MX, labels_M, data = _clevr_arrays(path)
    cure = "give the CLEVR file of arrays ims and coords_labels, or arr_0 and arr_1"
    if images_MX.dtype != np.uint8 or images_MX.ndim != 4 or images_MX.shape[-1] not in (1, 3):
        raise UserError(f"{path} has images {images_MX.dtype} {list(images_MX.shape)}, not uint8 [M, H, W, 3]", cure)
    if len(labels_M) != len(images_MX) or len(images_MX) < 2:
        raise UserError(f"{path} has {len(images_MX)} images and {len(labels_M)} labels", cure)
    whole = np.issubdtype(labels_M.dtype, np.integer)
    if whole:
        condition_M = labels_M.reshape(len(labels_M), -1)
        if condition_M.shape[1] != 1 or condition_M.min() < 0:
            raise UserError(f"{path} has labels {labels_M.dtype} {list(labels_M.shape)}, not classes from 0", cure)
        condition_M = condition_M[:, 0].astype(np.int32)
    else:
        good = labels_M.ndim in (2, 3) and np.issubdtype(labels_M.dtype, np.floating)
        if not good or labels_M.shape[-1] not in (2, 3) or not np.isfinite(labels_M).all():
            raise UserError(f"{path} has positions {labels_M.dtype} {list(labels_M.shape)}, not float [M, 2]", cure)
        condition_M = labels_M.astype(np.float32)
    held_out = max(1, len(images_MX) // HELD_OUT_SHARE)

    def fetch(places_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        told_B = condition_M[places_B]
        if told_B.ndim == 3:  # one of several objects, which follows from the image's number and is always the same
            told_B = told_B[np.arange(len(places_B)), places_B % told_B.shape[1]]
        return images_MX[places_B], told_B

    return ImageStore(
        name=path,
        count=len(images_MX) - held_out,
        held_out=held_out,
        shape=images_MX.shape[1:],
        classes=int(condition_M.max()) + 1 if whole else None,
        fetch=fetch,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _clevr_arrays(path: str) -> tuple[np.ndarray, np.ndarray, bytes]:
    if not files.exists(path) or files.is_directory(path):
        raise UserError(f"{path} is no file", "give the .npz file of CLEVR positions: clevr:FILE.npz")
    data = files.read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist()]
            names = [next((one for one in some if one in there), "") for some in (IMAGE_NAMES, CONDITION_NAMES)]
            if not all(names):
                raise UserError(
                    f"{path} has the arrays {', '.join(there[:20]) or 'none'}",
                    "give a file with ims and coords_labels (positions), or arr_0 and arr_1 (classes)",
                )
            images_MX, labels_M = (npz_array(archive, name, path, len(data)) for name in names)
            return images_MX, labels_M, data
    except UserError:
        raise
    except DAMAGED as error:
        said = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is no .npz file of plain arrays: {said}", "download it again") from error


def tfds_store(name: str, data_dir: str | None = None) -> ImageStore:
    """Labelled images of TensorFlow Datasets, which are read by number from ArrayRecord files; nothing is downloaded.

    Args:
        name: such as imagenet_resized/64x64.
        data_dir: where TensorFlow Datasets keeps its files; None for its own place, or TFDS_DATA_DIR.

    Raises:
        UserError: it is not prepared there, not as ArrayRecord files, or not of labelled images of one size.
    """
    import tensorflow_datasets as tfds

    prepare = (
        f"prepare it once: tfds.builder({name!r}).download_and_prepare(file_format='array_record'),"
        " and set TFDS_DATA_DIR to its place"
    )
    try:
        # TFDS itself looks at the environment once, when it is imported
        builder: Any = tfds.builder(name, data_dir=data_dir or os.environ.get("TFDS_DATA_DIR"))
        features = builder.info.features or {}
        ready = builder.is_prepared()
    except Exception as error:  # TFDS raises errors of many libraries
        said = " ".join(str(error).split()).partition(". ")[0][:160]
        raise UserError(f"TensorFlow Datasets cannot find {name}: {said}", prepare) from error
    for one in ("image", "label"):
        if one not in features:
            raise UserError(f"tfds:{name} has no feature {one!r}", "give data of labelled images")
    shape = features["image"].shape
    if None in shape or features["image"].np_dtype != np.uint8:
        raise UserError(f"the images of tfds:{name} have shape {shape}", "give data of one size in bytes")
    if not ready:
        raise UserError(f"tfds:{name} is not prepared in {builder.data_dir}", prepare)
    test = next((split for split in ("validation", "test") if split in builder.info.splits), "")
    if "train" not in builder.info.splits or not test:
        raise UserError(f"tfds:{name} has the splits {', '.join(builder.info.splits)}", "give data with two splits")
    try:
        sources: list[Any] = [builder.as_data_source(split=split) for split in ("train", test)]
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        raise UserError(f"tfds:{name} cannot be read by number: {said}", prepare) from error
    trained = len(sources[0])

    def fetch(places_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [sources[0][int(at)] if at < trained else sources[1][int(at) - trained] for at in places_B]
        labels_B = np.array([row["label"] for row in found], np.int32)
        return np.stack([row["image"] for row in found]), labels_B

    return ImageStore(
        name=f"tfds:{name}",
        count=trained,
        held_out=len(sources[1]),
        shape=tuple(shape),
        classes=int(features["label"].num_classes),
        fetch=fetch,
        digest=hashlib.sha256(str(builder.info.full_name).encode()).hexdigest(),
    )
