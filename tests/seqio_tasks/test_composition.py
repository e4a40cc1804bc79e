"""Images that diffusion models are trained on, and SeqIO's rows of them, which are the bundled trainer's."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seqio

from models.composition.denoising import held_out_rows, rows_of
from seqio_tasks.composition import add_diffusion_task
from seqio_tasks.composition_images import check_classes, clevr_store, digest_of, image_store, resident_images
from seqio_tasks.image_data import load_images
from shammie.errors import UserError

COUNT = 43  # images of the little CLEVR, of which two are held out


def clevr_arrays(**changed: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (COUNT, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNT)
    positions = generator.uniform(0, 1, (COUNT, 2))
    return {"ims": images, "coords_labels": positions, **changed}


def saved(folder: Path, arrays: dict[str, Any]) -> str:
    np.savez(folder / "clevr.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(folder / "clevr.npz")


def test_rows_are_passes_over_the_images(tmp_path: Path) -> None:
    arrays = clevr_arrays()
    store = image_store(f"clevr:{saved(tmp_path, arrays)}")
    assert (store.count, store.held_out, store.shape, store.classes) == (COUNT - 2, 2, (4, 4, 3), None)
    rows = rows_of(3, 0, 3 * store.count)
    found = store.rows(rows)
    np.testing.assert_array_equal(found["targets"], rows)
    assert found["image"].dtype == np.uint8
    assert found["condition"].dtype == np.float32
    numbers = found["image"][:, 0, 0, 0].reshape(3, store.count)
    np.testing.assert_array_equal(np.sort(numbers, axis=1), np.tile(np.arange(store.count), (3, 1)))  # each once a pass
    assert (numbers[0] != numbers[1]).any()
    np.testing.assert_array_equal(found["image"], arrays["ims"][numbers.reshape(-1)])
    np.testing.assert_allclose(found["condition"], arrays["coords_labels"][numbers.reshape(-1)], rtol=1e-6)
    part = store.rows(rows[30:60])  # across a pass's end
    np.testing.assert_array_equal(part["image"], found["image"][30:60])
    assert (store.rows(rows_of(4, 0, 41))["image"][:, 0, 0, 0] != numbers[0]).any()
    held_out = store.rows(held_out_rows(3))["image"][:, 0, 0, 0]
    np.testing.assert_array_equal(held_out, [COUNT - 2, COUNT - 1, COUNT - 2])


def test_several_objects_and_classes(tmp_path: Path) -> None:
    positions = np.random.default_rng(1).uniform(0, 1, (COUNT, 3, 2))
    _, condition = clevr_store(saved(tmp_path, clevr_arrays(coords_labels=positions))).fetch(np.array([0, 4, 8]))
    np.testing.assert_allclose(condition, [positions[0, 0], positions[4, 1], positions[8, 2]], rtol=1e-6)
    labels = np.arange(COUNT)[:, None] % 3
    classes = clevr_store(saved(tmp_path, {"arr_0": clevr_arrays()["ims"], "arr_1": labels, "ims": None}))
    assert classes.classes == 3
    np.testing.assert_array_equal(classes.fetch(np.array([4, 5]))[1], [1, 2])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ims": None}, "has the arrays coords_labels; give a file with ims and coords_labels"),
        ({"ims": np.zeros((COUNT, 4, 4, 3))}, f"has images float64 [{COUNT}, 4, 4, 3], not uint8"),
        ({"ims": np.zeros((COUNT, 4, 4), np.uint8)}, f"has images uint8 [{COUNT}, 4, 4], not uint8 [M, H, W, 3]"),
        ({"coords_labels": np.zeros((4, 2))}, f"has {COUNT} images and 4 labels"),
        ({"coords_labels": np.zeros((COUNT, 5))}, f"has positions float64 [{COUNT}, 5], not float [M, 2]"),
        ({"coords_labels": np.full((COUNT, 2), np.nan)}, "has positions float64"),
        ({"coords_labels": np.zeros((COUNT, 2), int)}, f"has labels int64 [{COUNT}, 2], not classes from 0"),
        ({"coords_labels": np.array([None] * COUNT)}, "object [43], not an array of numbers"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        clevr_store(saved(tmp_path, clevr_arrays(**changed)))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, clevr_arrays()))
    whole = path.read_bytes()
    for data in (b"", b"PK\x03\x04 no", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"is no \.npz file of plain arrays"):
            clevr_store(str(path))
    with pytest.raises(UserError, match=r"is no file; give the \.npz file of CLEVR positions"):
        clevr_store(str(tmp_path / "none.npz"))


def test_digits_are_resident() -> None:
    images = resident_images("digits", (8, 8, 1))
    train, test = load_images("digits", "train"), load_images("digits", "test")
    assert int(images.held_out) == len(test.labels)
    np.testing.assert_allclose(images.x_MX[: len(train.labels)], 2 * train.x - 1, atol=1e-6)
    np.testing.assert_array_equal(images.condition_M[-len(test.labels) :], test.labels)
    assert digest_of(images) == digest_of(resident_images("images:digits", (8, 8, 1)))
    assert digest_of(images) != digest_of(images._replace(held_out=np.int32(3)))
    with pytest.raises(UserError, match="images of digits are asked for as"):
        resident_images("digits", (64,))
    check_classes("digits", images.condition_M, 10)
    with pytest.raises(UserError, match="digits has a label 7, not 0 to 6; raise model"):
        check_classes("digits", np.array([1, 7, 2]), 7)


def taken(task: seqio.Task, split: str = "train", **how: Any) -> list[dict[str, np.ndarray]]:
    return list(task.get_dataset(split=split, **{"shuffle": True, **how}).as_numpy_iterator())


def check_rows(found: list[dict[str, np.ndarray]], expected: dict[str, np.ndarray]) -> None:
    assert set(found[0]) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(np.stack([row[name] for row in found]), array)
        assert found[0][name].dtype == array.dtype


def test_seqios_rows_are_the_trainers() -> None:
    task = add_diffusion_task("ring", seed=5, rows=20, held_out=4)
    assert task.name == "composition_ring_v001"
    check_rows(taken(task, seed=99), {"targets": rows_of(5, 0, 20)})
    check_rows(taken(task, "held_out"), {"targets": held_out_rows(4)})
    resumed = add_diffusion_task("ring", seed=5, first_row=7, rows=20)
    check_rows(taken(resumed), {"targets": rows_of(5, 7, 13)})
    for host in range(3):
        check_rows(taken(resumed, shard_info=seqio.ShardInfo(host, 3)), {"targets": rows_of(5, 7, 13)[host::3]})
    with pytest.raises(UserError, match="rows is 7, not above first_row=7"):
        add_diffusion_task("ring", seed=0, first_row=7, rows=7)
    with pytest.raises(UserError, match="seed is -1; give 0 or more"):
        add_diffusion_task("ring", seed=-1, rows=7)


@pytest.mark.parametrize("conditioned", [True, False])
def test_seqios_rows_bring_their_images(tmp_path: Path, conditioned: bool) -> None:
    store = clevr_store(saved(tmp_path, clevr_arrays()))
    task = add_diffusion_task("clevr", seed=1, rows=50, store=store, conditioned=conditioned, held_out=5)

    def due(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array for name, array in store.rows(rows).items() if conditioned or name != "condition"}

    rows = rows_of(1, 0, 50)
    check_rows(taken(task), due(rows))
    check_rows(taken(task, shard_info=seqio.ShardInfo(1, 3)), due(rows[1::3]))
    check_rows(taken(task, "held_out"), due(held_out_rows(5)))
    dataset = seqio.get_dataset(
        task.name,
        task_feature_lengths={"targets": 2},
        dataset_split="train",
        shuffle=True,
        feature_converter=seqio.PassThroughFeatureConverter(),
    ).batch(8)
    batch = next(dataset.as_numpy_iterator())
    np.testing.assert_array_equal(batch["image"], store.rows(rows[:8])["image"])


PREPARE = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class {name}(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {{"image": tfds.features.Image(shape=(4, 4, 3)), "label": tfds.features.ClassLabel(num_classes=3)}}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {{"train": self._generate_examples(0, 9), "validation": self._generate_examples(9, 12)}}

    def _generate_examples(self, first, stop):
        for number in range(first, stop):
            yield number, {{"image": np.full((4, 4, 3), number, np.uint8), "label": number % 3}}

{name}(data_dir=sys.argv[1], file_format=sys.argv[2]).download_and_prepare()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Prepares a little data set of a name as files of a format, in a process of its own; gives its folder."""

    def run(name: str, file_format: str) -> str:
        folder = str(tmp_path_factory.mktemp("tfds"))
        words = [sys.executable, "-c", PREPARE.format(name=name), folder, file_format]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return folder

    return run


def test_tfds_is_read_by_number(prepared: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", prepared("LittleResized", "array_record"))
    store = image_store("tfds:little_resized")
    assert (store.count, store.held_out, store.shape, store.classes) == (9, 3, (4, 4, 3), 3)
    found = store.rows(np.concatenate([rows_of(0, 0, 9), held_out_rows(3)]))
    numbers = found["image"][:, 0, 0, 0]
    assert sorted(numbers[:9]) == list(range(9))
    assert set(numbers[9:]) == {9, 10, 11}
    np.testing.assert_array_equal(found["condition"], numbers % 3)


def test_tfds_of_other_files_or_none_is_refused(
    prepared: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", prepared("LittleRecords", "tfrecord"))
    for name, words in (
        ("little_records", "tfds:little_records cannot be read by number"),
        ("no_such_data", "TensorFlow Datasets cannot find no_such_data: "),
        ("mnist", "tfds:mnist is not prepared in "),
        ("imagenet_resized/64x64", "tfds:imagenet_resized/64x64 is not prepared in "),
    ):
        with pytest.raises(UserError) as caught:
            image_store(f"tfds:{name}")
        assert str(caught.value).startswith(words)
        assert "prepare it once: tfds.builder(" in str(caught.value)
        assert "\n" not in str(caught.value)
