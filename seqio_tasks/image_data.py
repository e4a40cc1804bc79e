"""Base data of in-context learning (arXiv:2212.04458): labelled images, by name or from a folder of released files.

train = load_images("digits", "train")                       # scikit-learn's, 8 x 8, which it ships
other = load_images("DATA/kmnist", "test", pixels=8)         # files, as `seqio_tasks.image_files` reads them
third = load_images("tfds:svhn_cropped", "test", pixels=32)  # TensorFlow Datasets

M = examples, H x W = pixels, K = channels, F = features of an example. TensorFlow is imported for "tfds:" alone.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seqio_tasks import image_files
from shammie import files
from shammie.errors import UserError, unknown

DIGITS, TFDS = "digits", "tfds:"
TEST_SHARE = 5  # one of so many of scikit-learn's digits is for testing
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey, ITU-R BT.601
IMAGES_AT_ONCE = 1024  # that are resized together


@dataclass(frozen=True)
class Images:
    """Labelled examples.

    Attributes:
        x: float32 [M, H, W, K], from 0 to 1 as they are loaded; or [M, F] where there are no images.
        labels: int32 [M], from 0 to classes - 1.
        classes: how many there may be.
        name: what they are, for errors and reports.
    """

    x: np.ndarray
    labels: np.ndarray
    classes: int
    name: str

    @property
    def flat(self) -> np.ndarray:
        """The examples as vectors, float32 [M, F]; F = H * W * K."""
        return self.x.reshape(len(self.x), -1)


def load_images(
    name_or_path: str,
    split: str,
    *,
    pixels: int | None = None,
    channels: int | None = None,
    data_dir: str | None = None,
) -> Images:
    """Loads labelled images; the same bytes in give the same arrays.

    Args:
        name_or_path: "digits", scikit-learn's (`digits_test_ids` tells its split); "tfds:NAME", such as tfds:mnist,
            tfds:fashion_mnist, tfds:kmnist, tfds:cifar10 or tfds:svhn_cropped; or a folder with a data set's released
            files (`image_files.read_folder`), local or on any fsspec file system.
        split: "train" or "test"; what else the data has, such as SVHN's "extra".
        pixels: images become pixels x pixels, by linear interpolation, over an area where they get smaller; None for
            their own size. The paper's are 32.
        channels: 1 or 3: colours become grey (ITU-R BT.601), grey is repeated; None for their own.
        data_dir: where TensorFlow Datasets keeps its files; None for its own place. What is not there it downloads.

    Returns:
        `Images` with x from 0 to 1; of digits x = grey / 16, of others x = byte / 255.

    Raises:
        UserError: no such data or split, files that are not what they should be, or sizes that make no images.
    """
    for name, value, least in (("pixels", pixels, 1), ("channels", channels, 1)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise UserError(f"{name} is {value!r}", f"give a whole number of {least} or more")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels}", "give 1 for grey or 3 for colours")
    if name_or_path == DIGITS:
        bytes_MHWK, labels_M, classes, most = *_digits(split), 16
    elif name_or_path.startswith(TFDS):
        bytes_MHWK, labels_M, classes = _tfds(name_or_path.removeprefix(TFDS), split, data_dir)
        most = 255
    elif files.is_directory(name_or_path):
        bytes_MHWK, labels_M = image_files.read_folder(name_or_path, split)
        classes, most = image_files.CLASSES, 255
    elif files.exists(name_or_path):
        raise UserError(f"{name_or_path} is one file", "give the folder that holds images and labels")
    else:
        raise unknown("data", name_or_path, [DIGITS], "and tfds:NAME, such as tfds:mnist, and folders that exist")
    x_MHWK = _resized(bytes_MHWK, pixels or 0, most)
    return Images(_coloured(x_MHWK, channels), labels_M, classes, f"{name_or_path} {split}")


def files_of(name_or_path: str, split: str) -> list[str]:
    """The files that `load_images` would read, whose content is what a run's data is known by; none for names."""
    if name_or_path == DIGITS or name_or_path.startswith(TFDS):
        return []
    return image_files.files_of(name_or_path, split)


def standardized(train: Images) -> tuple[float, float]:
    """One mean and one standard deviation over all examples and pixels of a training split, as in the paper.

    Raises:
        UserError: every pixel is the same, or one is not finite.
    """
    mean, std = float(np.mean(train.x, dtype=np.float64)), float(np.std(train.x, dtype=np.float64))
    if not np.isfinite(std) or std == 0:
        raise UserError(f"the pixels of {train.name} have a standard deviation of {std}", "give data that varies")
    return mean, std


def with_moments(images: Images, mean: float, std: float) -> Images:
    """The images less a mean, by a standard deviation, such as `standardized` gives for the training split."""
    return replace(images, x=((images.x - np.float32(mean)) / np.float32(std)).astype(np.float32))


def gaussian_data(classes: int, per_class: int, features: int, seed: int) -> Images:
    """The paper's "Random" data: Gaussian vectors with labels that nothing but memory tells.

    The paper's own sizes are not in our facts. With per_class = 1 each class is one point that a context of many
    examples repeats, so that the nearest neighbour, as the paper's learners, comes to 100 %.

    Args:
        classes: C.
        per_class: vectors of each class, 1 or more.
        features: F of each.
        seed: 0 or more; the vectors are a function of the four numbers (NumPy's Philox and its normals).

    Returns:
        x float32 [C * per_class, F] from N(0, 1), labels 0 … C - 1 in turn.
    """
    for name, value, least in (("classes", classes, 1), ("per_class", per_class, 1), ("features", features, 1)):
        if value < least:
            raise UserError(f"{name} is {value}", f"give {least} or more")
    if seed < 0:
        raise UserError(f"seed is {seed}", "give 0 or more")
    generator = np.random.Generator(np.random.Philox(seed))
    x_MF = generator.standard_normal((per_class * classes, features), np.float32)
    labels_M = np.tile(np.arange(classes, dtype=np.int32), per_class)
    return Images(x_MF, labels_M, classes, f"gaussian {classes} x {per_class}")


def digits_test_ids() -> np.ndarray:
    """The test split of scikit-learn's digits: places in `load_digits`, ascending, the same on every machine.

    Of each class a fifth, rounded down, is for testing: the places whose sha256 of "digits PLACE" is smallest. They are
    355 of 1,797 (35, 36, 35, 36, 36, 36, 36, 35, 34 and 36 of the classes 0 to 9): 10, 33, 35, 36, 38, 50, 53, 55, …;
    as little-endian uint16 their sha256 is 411ab04b85a1bfece1dfd6fb4fccda3c7ad346a548444942542e86308e1c12c0.

    Returns:
        int64 [355].
    """
    labels_M = _digits_data()[1]
    keys = [hashlib.sha256(b"digits %d" % place).digest() for place in range(len(labels_M))]
    chosen: list[int] = []
    for label in range(10):
        places = np.flatnonzero(labels_M == label).tolist()
        chosen += sorted(places, key=keys.__getitem__)[: len(places) // TEST_SHARE]
    return np.array(sorted(chosen), np.int64)


def _digits_data() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.images, found.target


def _digits(split: str) -> tuple[np.ndarray, np.ndarray, int]:
    if split not in ("train", "test"):
        raise unknown("split of digits", split, ("train", "test"))
    images_MHW, labels_M = _digits_data()
    is_test_M = np.zeros(len(labels_M), bool)
    is_test_M[digits_test_ids()] = True
    chosen_M = is_test_M if split == "test" else ~is_test_M
    return images_MHW[chosen_M].astype(np.uint8)[..., None], labels_M[chosen_M].astype(np.int32), 10


def _tfds(name: str, split: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Images and labels of a TFDS data set: uint8 [M, H, W, K], int32 [M], classes."""
    import tensorflow_datasets as tfds

    cure = "check the name and the network, or give a folder with the data's released files"
    try:
        builder: Any = tfds.builder(name, data_dir=data_dir)
        features: Any = builder.info.features
        missing = [one for one in ("image", "label") if one not in (features or {})]
        if missing:
            raise UserError(f"tfds:{name} has no feature {missing[0]!r}", "give data of labelled images")
        if not builder.is_prepared():
            builder.download_and_prepare()
        if split not in builder.info.splits:
            raise unknown(f"split of tfds:{name}", split, builder.info.splits)
        rows = list(tfds.as_numpy(builder.as_dataset(split=split)))
    except UserError:
        raise
    except Exception as error:  # TFDS raises errors of many libraries, and one of its own for each cause
        said = " ".join(str(error).split())[:200]
        if isinstance(error, ModuleNotFoundError):  # importlib_resources, to download: it is not among its requirements
            cure = f"pip install {error.name}"
        raise UserError(f"TensorFlow Datasets cannot give {name}: {type(error).__name__}: {said}", cure) from error
    shapes = {row["image"].shape for row in rows}
    if len(shapes) != 1:
        raise UserError(f"the images of tfds:{name} {split} have {len(shapes)} sizes", "give data of one size")
    images_MHWK = np.stack([row["image"] for row in rows])
    labels_M = np.array([row["label"] for row in rows], np.int32)
    classes = int(features["label"].num_classes)
    if images_MHWK.dtype != np.uint8 or labels_M.min() < 0 or labels_M.max() >= classes:
        raise UserError(
            f"tfds:{name} {split} has pixels that are no bytes, or no label", "give data of labelled images"
        )
    return images_MHWK, labels_M, classes


def _resized(bytes_MHWK: np.ndarray, pixels: int, most: int) -> np.ndarray:
    """Bytes to float32 from 0 to 1, [M, pixels, pixels, K]; 0 pixels for the size that they have."""
    count, height, width, channels = bytes_MHWK.shape
    if pixels in (0, height) and pixels in (0, width):
        return bytes_MHWK.astype(np.float32) / np.float32(most)
    import jax

    out_MHWK = np.empty((count, pixels, pixels, channels), np.float32)
    for start in range(0, count, IMAGES_AT_ONCE):
        part = bytes_MHWK[start : start + IMAGES_AT_ONCE].astype(np.float32) / np.float32(most)
        shape = len(part), pixels, pixels, channels
        out_MHWK[start : start + len(part)] = np.clip(jax.image.resize(part, shape, "linear"), 0, 1)
    return out_MHWK


def _coloured(x_MHWK: np.ndarray, channels: int | None) -> np.ndarray:
    own = x_MHWK.shape[-1]
    if channels in (None, own):
        return x_MHWK
    if channels == 3 and own == 1:
        return np.repeat(x_MHWK, 3, axis=-1)
    if own != 3:
        raise UserError(f"the images have {own} channels", "leave channels out")
    return (x_MHWK @ np.array(LUMA, np.float32))[..., None]
