"""Contexts: that they hold what their rows say. Tests take them apart again: a feature tells each example's place."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.in_context import contexts as module
from models.in_context.base_data import Bank, Examples, bank_of
from models.in_context.baselines import nearest_neighbour, ridge
from models.in_context.contexts import check_bank, contexts_of
from models.in_context.tasks import FIXED, UNSEEN, Mixture, TaskDistribution, rows_of, task_of, unseen_rows
from shammie.errors import UserError

F, N, C = 6, 12, 4


def data(classes: int = C, each: int = 8, features: int = F, seed: int = 0) -> Examples:
    """Examples in no order of their classes, whose first feature is 100 + their place."""
    rng = np.random.default_rng(seed)
    labels_M = rng.permutation(np.repeat(np.arange(classes), each)).astype(np.int32)
    x_MF = rng.standard_normal((len(labels_M), features)).astype(np.float32)
    x_MF[:, 0] = 100 + np.arange(len(labels_M))
    return Examples(x_MF, labels_M)


@functools.cache
def compiled(mixture: Mixture, examples: int, classes: int) -> Any:
    """Contexts of a bank and rows; compiled in a third of the time, as these programs are small and many."""
    make = functools.partial(contexts_of, mixture, examples=examples, classes=classes)
    fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(make, compiler_options=fast)


def made(
    mixture: Mixture | TaskDistribution, bank: Bank | Examples, rows_B3: Any, examples: int = N, classes: int = C
) -> tuple[np.ndarray, np.ndarray]:
    """Contexts on the host."""
    mixture = mixture if isinstance(mixture, Mixture) else Mixture([mixture])
    bank = bank if isinstance(bank, Bank) else bank_of([bank], F)
    check_bank(mixture, bank, examples=examples, classes=classes)
    found = compiled(mixture, examples, classes)(bank, jnp.asarray(rows_B3))
    return np.asarray(found.x_BNF), np.asarray(found.labels_BN)


def chosen(distribution: TaskDistribution, of: Examples, id: int, x_NF: np.ndarray) -> np.ndarray:
    """Which examples a context of a task holds: those whose projections they are."""
    projected_MF = of.x_MF @ np.asarray(task_of(distribution, id, F, C).projection_FF)
    distances_NM = np.linalg.norm(x_NF[:, None] - projected_MF[None], axis=-1)
    assert distances_NM.min(axis=1).max() < 1e-4  # float32 of numbers about 100
    assert np.sort(distances_NM, axis=1)[:, 1].min() > 1e-2  # and no other is near
    return distances_NM.argmin(axis=1)


@pytest.mark.parametrize(("projection", "permute"), [("gaussian", True), ("orthogonal", False)])
def test_labels_are_the_permuted_classes_of_the_very_examples(projection: Any, permute: bool) -> None:
    distribution, of = TaskDistribution(seed=3, projection=projection, permute=permute), data()
    rows_B3 = np.concatenate([rows_of(Mixture([distribution]), 0, 0, 5), unseen_rows(3)])
    rows_B3[0, 1] = 2**24 - 1
    x_BNF, labels_BN = made(distribution, of, rows_B3)
    assert (x_BNF.dtype, labels_BN.dtype, x_BNF.shape) == (np.float32, np.int32, (8, N, F))
    met = set()
    for row, x_NF, labels_N in zip(rows_B3, x_BNF, labels_BN, strict=True):
        places_N = chosen(distribution, of, int(row[1]), x_NF)
        assert len({*places_N}) == N  # all different
        permutation_C = np.asarray(task_of(distribution, int(row[1]), F, C).permutation_C)
        assert np.array_equal(labels_N, permutation_C[of.labels_M[places_N]])
        met.add(tuple(places_N))
    assert len(met) == len(rows_B3)


def test_a_row_is_one_context_whatever_stands_beside_it() -> None:
    """Alone, in another batch, and among the distributions of a mixture that asks for more."""
    plain, of = TaskDistribution(seed=3), data()
    rows_B3 = np.array([[0, 5, 0], [0, UNSEEN, 9], [0, 5, 1]], np.int32)
    x_BNF, labels_BN = made(plain, of, rows_B3)
    alone_x, alone_labels = made(plain, of, rows_B3[1:2])
    assert np.array_equal(alone_x[0], x_BNF[1])
    assert np.array_equal(alone_labels[0], labels_BN[1])
    other = TaskDistribution(biased_share=0.5, classes=2, noise=1.0, label_noise=0.5, repeat=True, scale="std")
    mixed_x, mixed_labels = made(Mixture([plain, other]), bank_of([of, of], F), rows_B3)
    np.testing.assert_allclose(mixed_x, x_BNF, rtol=1e-5)
    assert np.array_equal(mixed_labels, labels_BN)
    places = [chosen(plain, of, 5, x_BNF[b]) for b in (0, 2)]
    assert places[0].tolist() != places[1].tolist()  # another draw of the same task
    assert not np.array_equal(made(replace(plain, seed=4), of, rows_B3)[0], x_BNF)


def test_rows_of_one_projection_do_not_pay_for_the_others() -> None:
    """They are the same without them, and no rotation is computed."""
    mixture = Mixture(
        [TaskDistribution(), TaskDistribution(projection="orthogonal"), TaskDistribution(label_noise=0.5)]
    )
    bank, rows_B3 = bank_of([data()] * 3, F), np.array([[0, 5, 0], [2, UNSEEN, 9]], np.int32)
    programs = {}
    for kind in ("", "gaussian", "orthogonal"):
        make = functools.partial(contexts_of, mixture, examples=N, classes=C, projection=kind)
        programs[kind] = str(jax.make_jaxpr(make)(bank, rows_B3))
    assert ["= qr[" in programs[kind] for kind in ("", "gaussian", "orthogonal")] == [True, False, True]
    known = jax.jit(functools.partial(contexts_of, mixture, examples=N, classes=C, projection="gaussian"))
    for one, other in zip(known(bank, rows_B3), made(mixture, bank, rows_B3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_every_example_is_as_likely_at_every_position() -> None:
    of = data(each=4)
    rows_B3 = rows_of(Mixture(), 0, 0, 4000)
    x_BNF, _ = made(TaskDistribution(projection="none"), of, rows_B3)
    places_BN = np.rint(x_BNF[..., 0] - 100).astype(int)
    for position in range(N):
        assert scipy.stats.chisquare(np.bincount(places_BN[:, position], minlength=16)).pvalue > 1e-4, position
    pairs = np.bincount(places_BN[:, 0] * 16 + places_BN[:, 1], minlength=256).reshape(16, 16)
    assert (np.diag(pairs) == 0).all()
    assert scipy.stats.chisquare(pairs[~np.eye(16, dtype=bool)]).pvalue > 1e-4


def test_draws_are_the_first_of_a_shuffle() -> None:
    """The chains that are followed by doubling equal the loop that exchanges places."""
    draw = jax.jit(module._draw, static_argnums=2)
    for examples, count in ((1, 1), (1, 5), (3, 3), (7, 9), (33, 33), (33, 34), (33, 5000)):
        for seed in range(30):
            key = jax.random.key(seed)
            uniform_N = np.asarray(jax.random.uniform(key, (examples,)))
            places = [*range(count)]
            for i in range(examples):
                other = min(i + int(uniform_N[i] * np.float32(count - i)), count - 1)
                places[i], places[other] = places[other], places[i]
            assert draw(key, count, examples, False).tolist() == places[:examples], (examples, count, seed)


def test_a_whole_data_set_is_a_context_without_repetition() -> None:
    of = data(each=3)
    x_BNF, _ = made(TaskDistribution(projection="none"), of, unseen_rows(20))
    assert (np.sort(np.rint(x_BNF[..., 0] - 100), axis=1) == np.arange(12)).all()
    with pytest.raises(UserError, match="13 examples"):
        made(TaskDistribution(), of, unseen_rows(1), examples=13)


def test_with_repetition_all_are_drawn_anew() -> None:
    of = data(classes=2, each=1)
    x_BNF, labels_BN = made(TaskDistribution(projection="none", repeat=True), of, unseen_rows(500))
    places_BN = np.rint(x_BNF[..., 0] - 100).astype(int)
    counts = np.bincount((places_BN @ (2 ** np.arange(N))).ravel() % 16, minlength=16)  # the first four positions
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    for places_N, labels_N in zip(places_BN, labels_BN, strict=True):
        assert len({*zip(places_N.tolist(), labels_N.tolist(), strict=True)}) == len({*places_N})


@pytest.mark.parametrize("features", [F, F - 2])
def test_data_sets_of_a_mixture_keep_apart(features: int) -> None:
    first, second = data(), data(classes=3, each=9, features=features, seed=1)
    second.x_MF[:, 0] += 1000
    mixture = Mixture([TaskDistribution(projection="none", permute=False, seed=s) for s in (0, 1)])
    rows_B3 = rows_of(mixture, 0, 0, 60)
    assert 15 < rows_B3[:, 0].sum() < 45
    x_BNF, labels_BN = made(mixture, bank_of([first, second], F), rows_B3)
    for which, of in enumerate((first, second)):
        own_BNF, own_BN = x_BNF[rows_B3[:, 0] == which], labels_BN[rows_B3[:, 0] == which]
        places_BN = np.rint(own_BNF[..., 0] - 100 - 1000 * which).astype(int)
        assert np.array_equal(own_BNF[..., : of.x_MF.shape[1]], of.x_MF[places_BN])
        assert np.array_equal(own_BN, of.labels_M[places_BN])
        assert (own_BNF[..., of.x_MF.shape[1] :] == 0).all()
        assert {*places_BN.ravel()} == {*range(len(of.labels_M))}


def test_a_mixture_may_have_every_projection() -> None:
    kinds = ("none", "gaussian", "orthogonal", "gaussian")
    told = [TaskDistribution(projection=kind, scale="std" if at == 3 else "variance") for at, kind in enumerate(kinds)]
    rows_B3 = np.array([[at, 7, 3] for at in range(4)], np.int32)
    x_BNF, labels_BN = made(Mixture(told), bank_of([data()] * 4, F), rows_B3)
    for at, one in enumerate(told):
        np.testing.assert_allclose(x_BNF[0] @ np.asarray(task_of(one, 7, F, C).projection_FF), x_BNF[at], rtol=1e-3)
        assert np.array_equal(labels_BN[at], labels_BN[0])


def test_orthogonal_projections_keep_distances() -> None:
    of, rows_B3 = data(), np.array([[0, 7, 3]], np.int32)
    distances = []
    for kind in ("orthogonal", "none", "gaussian"):
        x_NF = made(TaskDistribution(projection=kind), of, rows_B3)[0][0].astype(np.float64)
        distances.append(np.linalg.norm(x_NF[:, None] - x_NF[None], axis=-1))
    np.testing.assert_allclose(distances[0], distances[1], atol=2e-3)
    assert np.abs(distances[2] - distances[1]).max() > 1


def label_orders(labels_BN: np.ndarray, classes_BN: np.ndarray) -> list[tuple[int, ...]]:
    """The label of each class in each context."""
    orders = []
    for labels_N, classes_N in zip(labels_BN, classes_BN, strict=True):
        pairs = {*zip(classes_N.tolist(), labels_N.tolist(), strict=True)}
        assert len(pairs) == C
        orders.append(tuple(label for _, label in sorted(pairs)))
    return orders


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_biased_share_has_one_permutation(share: float) -> None:
    of, count = data(each=3), 2000  # a context has all examples
    distribution = TaskDistribution(projection="none", biased_share=share, seed=11)
    x_BNF, labels_BN = made(distribution, of, rows_of(Mixture([distribution]), 0, 0, count))
    orders = label_orders(labels_BN, of.labels_M[np.rint(x_BNF[..., 0] - 100).astype(int)])
    fixed = tuple(np.asarray(task_of(distribution, FIXED, F, C).permutation_C).tolist())
    expected = share + (1 - share) / 24  # others are by chance the same
    assert orders.count(fixed) / count == pytest.approx(expected, abs=4 * (expected * (1 - expected) / count) ** 0.5)
    others = [orders.count(order) for order in {*orders} - {fixed}]
    assert len(others) == (0 if share == 1 else 23)
    assert not others or scipy.stats.chisquare(others).pvalue > 1e-3
    if share == 0.3:  # the draw decides, so that one task is met with both
        rows_B3 = np.array([[0, 1, draw] for draw in range(200)], np.int32)
        x_BNF, labels_BN = made(distribution, of, rows_B3)
        own = label_orders(labels_BN, of.labels_M[np.rint(x_BNF[..., 0] - 100).astype(int)])
        assert {*own} == {fixed, tuple(np.asarray(task_of(distribution, 1, F, C).permutation_C).tolist())}
        assert 30 < own.count(fixed) < 90


@pytest.mark.parametrize(("most", "fewest"), [(2, 0), (4, 1), (0, 3)])
def test_tasks_have_as_many_classes_as_are_asked_for(most: int, fewest: int) -> None:
    of = data(each=20)
    told: Any = {"projection": "none", "permute": False, "repeat": True}  # 70 draws: no class of four is missed
    distribution = TaskDistribution(classes=most, fewest_classes=fewest, **told)
    rows_B3 = unseen_rows(600)
    x_BNF, labels_BN = made(distribution, of, rows_B3, examples=70)
    assert np.array_equal(of.labels_M[np.rint(x_BNF[..., 0] - 100).astype(int)], labels_BN)
    sets = [frozenset(labels_N.tolist()) for labels_N in labels_BN]
    sizes, bounds = np.bincount([len(one) for one in sets], minlength=5), (fewest or most, most or C)
    assert {*np.flatnonzero(sizes)} == {*range(bounds[0], bounds[1] + 1)}
    assert bounds[0] == bounds[1] or scipy.stats.chisquare(sizes[bounds[0] : bounds[1] + 1]).pvalue > 1e-4
    assert scipy.stats.chisquare([sum(c in one for one in sets) for c in range(C)]).pvalue > 1e-4  # of any
    rows_B3[:, 2] += 1000  # another draw of a task has the same classes
    assert [frozenset(labels_N.tolist()) for labels_N in made(distribution, of, rows_B3, examples=70)[1]] == sets


def test_a_data_set_may_have_more_classes_than_the_learner() -> None:
    of = data(classes=9, each=20)
    distribution = TaskDistribution(projection="none", classes=4, fewest_classes=2)
    x_BNF, labels_BN = made(distribution, of, unseen_rows(300), examples=20)
    assert (labels_BN.min(), labels_BN.max()) == (0, C - 1)
    classes_BN = of.labels_M[np.rint(x_BNF[..., 0] - 100).astype(int)]
    for labels_N, classes_N in zip(labels_BN, classes_BN, strict=True):
        pairs = {*zip(classes_N.tolist(), labels_N.tolist(), strict=True)}
        assert len(pairs) == len({one for one, _ in pairs}) == len({label for _, label in pairs}) <= 4
    assert {*classes_BN.ravel()} == {*range(9)}
    with pytest.raises(UserError, match=r"tasks of 9 classes of digits, but the learner has 4"):
        made(TaskDistribution(), of, unseen_rows(1))


def test_noise_is_added_to_the_examples() -> None:
    of, rows_B3 = data(), unseen_rows(800)
    clean, noisy = (made(TaskDistribution(projection="none", noise=noise), of, rows_B3) for noise in (0.0, 0.3))
    assert np.array_equal(clean[1], noisy[1])
    added = (noisy[0] - clean[0]).astype(np.float64)
    assert scipy.stats.kstest(added.ravel()[:50_000] / 0.3, "norm").pvalue > 1e-4
    across = np.asarray(np.corrcoef(added.reshape(800, -1)[:, :8].T))
    assert across[~np.eye(8, dtype=bool)] == pytest.approx(0, abs=0.16)
    # before the projection
    projected = [made(TaskDistribution(noise=noise), of, rows_B3[:1])[0][0] for noise in (0.0, 0.3)]
    projection_FF = np.asarray(task_of(TaskDistribution(), int(rows_B3[0, 1]), F, C).projection_FF)
    np.testing.assert_allclose(projected[1] - projected[0], added[0] @ projection_FF, atol=1e-4)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_labels_of_a_share_are_drawn_anew_from_the_tasks_own(share: float) -> None:
    of, rows_B3 = data(), unseen_rows(2000)
    distribution = TaskDistribution(classes=3)
    clean = made(distribution, of, rows_B3)
    noisy = made(replace(distribution, label_noise=share), of, rows_B3)
    assert np.array_equal(clean[0], noisy[0])
    differ_BN = clean[1] != noisy[1]
    expected = share * 2 / 3  # one of three is right by chance
    assert differ_BN.mean() == pytest.approx(expected, abs=0.012)
    for clean_N, noisy_N in zip(*(labels[:200] for labels in (clean[1], noisy[1])), strict=True):
        if len({*clean_N}) == 3:
            assert {*noisy_N} <= {*clean_N}
    if share == 1.0:  # nothing of the class is left
        table = np.zeros((C, C))
        one_task = np.repeat(rows_B3[:1], 2000, axis=0)
        one_task[:, 2] += np.arange(2000)
        told = made(distribution, of, one_task)[1], made(replace(distribution, label_noise=1.0), of, one_task)[1]
        np.add.at(table, told, 1)
        there = np.flatnonzero(table.sum(1))
        independent: Any = scipy.stats.chi2_contingency(table[np.ix_(there, there)])
        assert independent.pvalue > 1e-4
        assert len(there) == 3


def test_baselines_learn_contexts() -> None:
    """The harness: nearest neighbours know all that repeats, and learn clusters; of shuffled labels nothing."""
    labels_M = np.arange(200, dtype=np.int32) % C
    centres_CF = 2 * np.eye(C, F, dtype=np.float32)
    x_MF = (centres_CF[labels_M] + 0.3 * np.random.default_rng(0).standard_normal((200, F))).astype(np.float32)
    of = Examples(x_MF, labels_M)
    found = {}
    for name, distribution in {
        "clusters": TaskDistribution(projection="orthogonal"),
        "shuffled": TaskDistribution(projection="orthogonal", label_noise=1.0),
    }.items():
        x_BNF, labels_BN = made(distribution, of, unseen_rows(200), examples=30)
        for baseline in (nearest_neighbour, ridge):
            guess_BP = np.argmax(baseline(jnp.asarray(x_BNF), jnp.asarray(labels_BN), C, [29]), axis=-1)
            found[name, baseline.__name__] = float((guess_BP[:, 0] == labels_BN[:, 29]).mean())
    assert min(found["clusters", "nearest_neighbour"], found["clusters", "ridge"]) > 0.95
    assert [found["shuffled", name] for name in ("nearest_neighbour", "ridge")] == pytest.approx([1 / C] * 2, abs=0.1)


def test_the_bank_may_be_a_constant_or_an_argument_of_the_compiled_function() -> None:
    of, rows_B3, mixture = data(), unseen_rows(3), Mixture()
    constant = jax.jit(lambda rows: contexts_of(mixture, bank_of([of], F), rows, examples=N, classes=C))
    for one, other in zip(constant(rows_B3), made(mixture, of, rows_B3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    ("told", "sizes", "problem"),
    [
        ([{}, {}], {}, "1 data sets for 2"),
        ([{}], {"classes": 3}, "tasks of 4 classes of digits, but the learner has 3"),
        ([{"classes": 5}], {"classes": 9}, "tasks of 5 classes, but digits has 4"),
        ([{}], {"examples": 33}, "a context of 33 examples, but 4 classes of digits may have only 32"),
        ([{"classes": 3}], {"examples": 25}, "3 classes of digits may have only 24"),
        ([{"classes": 3, "fewest_classes": 1}], {"examples": 9}, "1 classes of digits may have only 8"),
        ([{"fewest_classes": 1}], {"examples": 9}, "1 classes of digits may have only 8"),
    ],
)
def test_what_cannot_be_drawn_is_named(told: Sequence[Any], sizes: Any, problem: str) -> None:
    bank, mixture = bank_of([data()], F), Mixture([TaskDistribution(**one) for one in told])
    with pytest.raises(UserError, match=problem):
        check_bank(mixture, bank, **{"examples": N, "classes": C, **sizes})
    if "examples" in sizes:
        check_bank(Mixture([replace(mixture.distributions[0], repeat=True)]), bank, classes=C, **sizes)
