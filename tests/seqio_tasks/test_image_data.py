import gzip
import hashlib
import importlib.resources.abc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqio_tasks import image_data
from seqio_tasks.image_data import (
    Images,
    digits_test_ids,
    files_of,
    gaussian_data,
    load_images,
    standardized,
    with_moments,
)
from shammie.errors import UserError


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_digits_are_split_once_and_for_all() -> None:
    ids = digits_test_ids()
    assert len(ids) == 355
    assert ids[:8].tolist() == [10, 33, 35, 36, 38, 50, 53, 55]
    assert sha256(ids.astype("<u2")) == "411ab04b85a1bfece1dfd6fb4fccda3c7ad346a548444942542e86308e1c12c0"
    train, test = load_images("digits", "train"), load_images("digits", "test")
    assert (train.x.shape, test.x.shape) == ((1442, 8, 8, 1), (355, 8, 8, 1))
    assert np.bincount(test.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert np.bincount(train.labels).tolist() == [143, 146, 142, 147, 145, 146, 145, 144, 140, 144]
    assert (train.classes, train.x.dtype, train.labels.dtype, train.name) == (10, np.float32, np.int32, "digits train")
    # sixteenths, so that the bytes are the same whoever divides
    assert set(np.unique(train.x * 16)) == set(range(17))
    assert sha256(train.x) == "9b559ebe0ba07e7b0e8e38508e0d8335375d4045a0983e7deef908d2855e2052"
    assert sha256(test.labels.astype("<i4")) == "2b6d93eeb734bfb57ed575794d44e8b8586a3d344492065156f4119ddd0f22fa"


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    ids = digits_test_ids()
    test = load_images("digits", "test")
    np.testing.assert_array_equal(test.flat * 16, data.data[ids])
    np.testing.assert_array_equal(test.labels, data.target[ids])
    train = load_images("digits", "train")
    np.testing.assert_array_equal(train.flat * 16, np.delete(data.data, ids, axis=0))


def test_digits_need_no_tensorflow() -> None:
    code = (
        "import sys, seqio_tasks.image_data as d\n"
        "d.load_images('digits', 'test', pixels=4)\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'apache_beam'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"], check=True)


def test_one_mean_and_deviation_of_the_training_split() -> None:
    train, test = load_images("digits", "train"), load_images("digits", "test")
    mean, std = standardized(train)
    assert (mean, std) == (pytest.approx(0.3055306, abs=1e-6), pytest.approx(0.3761482, abs=1e-6))
    found = with_moments(train, mean, std)
    assert abs(found.x.mean()) < 1e-6
    assert found.x.std() == pytest.approx(1, abs=1e-6)
    other = with_moments(test, mean, std)
    np.testing.assert_allclose(other.x, (test.x.astype(np.float64) - mean) / std, atol=1e-6)
    assert other.x.dtype == np.float32
    # pixels that never change are no trouble, as one number is for all pixels
    assert (train.flat.std(axis=0) == 0).any()
    assert np.isfinite(found.x).all()


@pytest.mark.parametrize("value", [0.25, np.nan])
def test_what_does_not_vary_is_refused(value: float) -> None:
    x = np.full((3, 2, 2, 1), value, np.float32)
    with pytest.raises(UserError, match="the pixels of grey have a standard deviation of"):
        standardized(Images(x, np.zeros(3, np.int32), 1, "grey"))


def write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> str:
    def idx(array: np.ndarray) -> bytes:
        shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
        return gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.tobytes())

    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(images))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return str(folder)


@pytest.fixture
def mnist(tmp_path: Path) -> tuple[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6), np.uint8)
    return write_mnist(tmp_path, images, np.arange(5, dtype=np.uint8)), images


def test_a_folder_of_files(mnist: tuple[str, np.ndarray]) -> None:
    folder, images = mnist
    found = load_images(folder, "train")
    np.testing.assert_array_equal(found.x, images[..., None] / np.float32(255))
    assert (found.labels.tolist(), found.classes, found.name) == ([0, 1, 2, 3, 4], 10, f"{folder} train")
    assert [Path(path).name for path in files_of(folder, "train")] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    assert files_of("digits", "train") == []


def test_smaller_images_are_weighted_means(mnist: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, images = mnist
    monkeypatch.setattr(image_data, "IMAGES_AT_ONCE", 2)  # in three parts
    found = load_images(folder, "train", pixels=3, channels=3)
    assert found.x.shape == (5, 3, 3, 3)
    # half as many pixels: the triangle around each is 4 wide, with weights 1, 3, 3, 1 (3, 3, 1 at the edges)
    weights = np.array([[3, 3, 1, 0, 0, 0], [0, 1, 3, 3, 1, 0], [0, 0, 0, 1, 3, 3]])
    weights = weights / weights.sum(axis=1, keepdims=True)
    wanted = weights @ (images / 255) @ weights.T
    np.testing.assert_allclose(found.x, np.repeat(wanted[..., None], 3, axis=-1), atol=1e-6)


def test_larger_images_keep_their_corners_and_range(mnist: tuple[str, np.ndarray]) -> None:
    folder, images = mnist
    found = load_images(folder, "train", pixels=32)
    assert found.x.shape == (5, 32, 32, 1)
    np.testing.assert_allclose(found.x[:, 0, 0, 0], images[:, 0, 0] / 255, atol=1e-6)
    np.testing.assert_allclose(found.x[:, -1, -1, 0], images[:, -1, -1] / 255, atol=1e-6)
    assert 0 <= found.x.min() < found.x.max() <= 1


def test_colours_become_grey() -> None:
    x = np.array([[[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]]], np.float32)
    np.testing.assert_allclose(image_data._coloured(x, 1)[0, 0, :, 0], [0.299, 0.587, 0.114, 0.5], atol=1e-6)
    assert image_data._coloured(x, 3) is x


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digit", "train"), "unknown data 'digit'; did you mean digits"),
        (("digits", "validation"), "unknown split of digits 'validation'; there are: train, test"),
        (("/no/such/folder", "train"), "unknown data '/no/such/folder'; .*tfds:NAME, such as tfds:mnist, and folders"),
        ((__file__, "train"), r"test_image_data\.py is one file; give the folder"),
        (("digits", "train", 0), "pixels is 0; give a whole number of 1 or more"),
        (("digits", "train", 2.5), r"pixels is 2\.5"),
        (("digits", "train", None, 2), "channels is 2; give 1 for grey or 3 for colours"),
        (("digits", "train", None, 0), "channels is 0"),
    ],
)
def test_what_cannot_be_loaded(arguments: tuple[Any, ...], said: str) -> None:
    name, split, *sizes = arguments
    how = dict(zip(("pixels", "channels"), sizes, strict=False))
    with pytest.raises(UserError, match=said) as caught:
        load_images(name, split, **how)
    assert "\n" not in str(caught.value)


def test_gaussian_data() -> None:
    data = gaussian_data(10, 200, 50, seed=3)
    assert (data.x.shape, data.x.dtype, data.classes) == ((2000, 50), np.float32, 10)
    assert np.bincount(data.labels).tolist() == [200] * 10
    assert data.x.mean() == pytest.approx(0, abs=0.02)
    assert data.x.std() == pytest.approx(1, abs=0.01)
    assert abs(np.cov(data.x.T) - np.eye(50)).max() < 0.12
    np.testing.assert_array_equal(data.x, gaussian_data(10, 200, 50, seed=3).x)
    assert not np.array_equal(data.x, gaussian_data(10, 200, 50, seed=4).x)
    one = gaussian_data(10, 1, 64, seed=0)
    assert one.labels.tolist() == list(range(10))
    assert one.flat is not None
    assert len(np.unique(one.x, axis=0)) == 10
    for bad, said in (((0, 1, 1, 0), "classes is 0"), ((1, 1, 0, 0), "features is 0"), ((1, 1, 1, -1), "seed is -1")):
        with pytest.raises(UserError, match=said):
            gaussian_data(*bad)


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two data sets as TFDS writes them: colours of one size, and images of two sizes."""
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        SHAPE: tuple[int | None, ...] = (4, 4, 3)

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=self.SHAPE),
                "label": tfds.features.ClassLabel(num_classes=7),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

        def _generate_examples(self, count: int) -> Any:
            for number in range(count):
                size = 4 + number % 2 * (self.SHAPE[0] is None)
                yield number, {"image": np.full((size, size, 3), number * 20, np.uint8), "label": number}

    class Uneven(Tiny):
        SHAPE = (None, None, 3)

    folder = str(tmp_path_factory.mktemp("tfds"))
    with pytest.MonkeyPatch.context() as patch:
        # TFDS imports it to prepare data, without requiring it; Python's own has what it wants of it
        patch.setitem(sys.modules, "importlib_resources", importlib.resources)
        for builder in (Tiny, Uneven):
            prepare = tfds.download.DownloadConfig(try_download_gcs=False)
            builder(data_dir=folder).download_and_prepare(download_config=prepare)
    return folder


def test_tfds(tfds_folder: str) -> None:
    found = load_images("tfds:tiny", "train", data_dir=tfds_folder)
    assert (found.x.shape, found.classes, found.name) == ((6, 4, 4, 3), 7, "tfds:tiny train")
    assert (found.x.dtype, found.labels.dtype) == (np.float32, np.int32)
    order = np.argsort(found.labels)
    np.testing.assert_array_equal(found.x[order, 0, 0, 0], np.arange(6, dtype=np.float32) * 20 / np.float32(255))
    assert found.labels[order].tolist() == list(range(6))
    small = load_images("tfds:tiny", "test", data_dir=tfds_folder, pixels=2, channels=1)
    assert small.x.shape == (2, 2, 2, 1)
    again = load_images("tfds:tiny", "train", data_dir=tfds_folder)
    np.testing.assert_array_equal(found.x, again.x)


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("tiny", "validation", "unknown split of tfds:tiny 'validation'; there are: .*t"),
        ("uneven", "train", "the images of tfds:uneven train have 2 sizes"),
        ("no_such_data_of_ours", "train", "TensorFlow Datasets cannot give no_such_data_of_ours: DatasetNotFound"),
    ],
)
def test_tfds_that_cannot_be_loaded(tfds_folder: str, name: str, split: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_images(f"tfds:{name}", split, data_dir=tfds_folder)
    assert "\n" not in str(caught.value)


def test_what_tfds_lacks_is_told(tfds_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    def builder(name: str, **_: Any) -> None:
        raise ModuleNotFoundError("No module named 'importlib_resources'", name="importlib_resources")

    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(UserError, match=r"ModuleNotFoundError: .*; pip install importlib_resources"):
        load_images("tfds:tiny", "train", data_dir=tfds_folder)
