"""Data sets by name."""

import hashlib
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.datasets
from sklearn.datasets import load_digits

from seqio_tasks.base_sets import bank_for, digest_of, examples_of
from shammie.errors import UserError


def test_digits_are_standardised_by_the_training_splits_moments() -> None:
    train, test = (examples_of("digits", split, 64) for split in ("train", "test"))
    assert train.x_MF.dtype == np.float32
    assert len(train.labels_M) + len(test.labels_M) == 1797
    assert train.x_MF.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert train.x_MF.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    known, labels = load_digits(return_X_y=True)
    for split in (train, test):  # one affine map for both: the same images and labels
        exact_MF = (split.x_MF - train.x_MF.min()) / (train.x_MF.max() - train.x_MF.min()) * 16
        pixels = np.rint(exact_MF).astype(int)
        np.testing.assert_allclose(exact_MF, pixels, atol=1e-4)
        told = {(row.tobytes(), int(label)) for row, label in zip(pixels, split.labels_M, strict=True)}
        assert told <= {(row.astype(int).tobytes(), int(label)) for row, label in zip(known, labels, strict=True)}
    assert not {row.tobytes() for row in train.x_MF} & {row.tobytes() for row in test.x_MF}


def test_images_become_as_many_features_as_are_asked_for() -> None:
    assert examples_of("digits", "test", 16).x_MF.shape[1] == 16
    coloured = examples_of("digits", "test", 192).x_MF.reshape(-1, 64, 3)
    assert np.array_equal(coloured[..., 0], coloured[..., 2])
    for features in (63, 2, 5):
        with pytest.raises(UserError, match=f"{features} features are no square image"):
            examples_of("digits", "train", features)


def test_the_random_set_is_one_vector_a_class() -> None:
    x_MF, labels_M = examples_of("random", "train", 60)
    assert x_MF.shape == (10, 60)
    assert sorted(labels_M.tolist()) == [*range(10)]
    assert x_MF.std() == pytest.approx(1, abs=0.1)
    assert np.array_equal(x_MF, examples_of("random", "test", 60).x_MF)


def test_tables_by_number() -> None:
    tables = [examples_of(f"table:{number}", split, 8) for number in (0, 1) for split in ("train", "test")]
    assert np.array_equal(tables[0].x_MF, tables[1].x_MF)
    assert not np.array_equal(tables[0].x_MF, tables[2].x_MF)
    assert {one.x_MF.shape[1] for one in tables} == {8}
    for name in ("table:x", "table:-1", "table:"):
        with pytest.raises(UserError):
            examples_of(name, "train", 64)


def test_scikit_learns_tables_are_standardised_and_padded() -> None:
    for name, rows, used, classes in (("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)):
        x_MF, labels_M = examples_of(f"sklearn:{name}", "test", 64)
        assert (x_MF.shape, x_MF.dtype, labels_M.dtype) == ((rows, 64), np.float32, np.int32)
        assert {*labels_M.tolist()} == {*range(classes)}
        assert not x_MF[:, used:].any()
        known_MF, known_labels = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        assert np.array_equal(labels_M, known_labels)
        standard_MF: Any = scipy.stats.zscore(known_MF)
        np.testing.assert_allclose(
            x_MF[:, :used], np.clip(standard_MF, -4, 4) * (64 / used) ** 0.5, rtol=1e-4, atol=1e-5
        )
    with pytest.raises(UserError, match="wein"):
        examples_of("sklearn:wein", "test", 64)
    with pytest.raises(UserError, match="wine has 13 features, but contexts 8"):
        examples_of("sklearn:wine", "test", 8)


def test_a_bank_has_the_sets_in_order() -> None:
    bank = bank_for([("random", "train"), ("digits", "test"), ("digits", "train")], 64)
    sizes = [10, len(examples_of("digits", "test", 64).labels_M), len(examples_of("digits", "train", 64).labels_M)]
    assert np.asarray(bank.count_DK).sum(axis=1).tolist() == sizes
    assert len(bank.x_MF) == sum(sizes)
    digits = examples_of("digits", "test", 64)
    first, count = int(bank.first_DK[1, 3]), int(bank.count_DK[1, 3])
    assert np.array_equal(bank.x_MF[first : first + count], digits.x_MF[digits.labels_M == 3])


def test_a_digest_is_of_the_numbers_the_shape_and_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqio_tasks import base_sets
    from seqio_tasks.base_sets import Examples

    found = {digest_of("digits", split, features) for split in ("train", "test") for features in (16, 64)}
    assert len(found) == 4
    x_MF, labels_M = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3, dtype=np.int64)
    changed_MF = x_MF.copy()
    changed_MF[2, 1] += 1e-6 * 5
    told = [(x_MF, labels_M), (x_MF.reshape(2, 3), labels_M), (changed_MF, labels_M), (x_MF, labels_M[::-1])]
    digests = []
    for one in told:
        monkeypatch.setattr(base_sets, "examples_of", lambda *_, one=one: Examples(*one))
        digests.append(digest_of("any", "train", 2))
    assert len({*digests}) == 4
    told_bytes = b"((3, 2), 'float32')" + x_MF.tobytes() + labels_M.astype(np.int32).tobytes()
    assert digests[0] == hashlib.sha256(told_bytes).hexdigest()
