"""Where theory knows the boundary: a frozen input layer, and learning rates that go to 0."""

import numpy as np
import pytest

from models.trainability.conditions import CONDITIONS
from models.trainability.notebook import Draws
from models.trainability.pixels import pixel_values
from models.trainability.problem import Problem, problem_of

WIDTH = 16


def frozen(activation: str, steps: int) -> tuple[Problem, float]:
    """A problem of numpy's random numbers, and the readout's critical learning rate where the input layer stays."""
    rng = np.random.default_rng(0)
    count = CONDITIONS[activation].data_count(WIDTH)
    features, targets, weights, readout = (
        rng.normal(size=shape) for shape in ((count, WIDTH), (count, 1), (WIDTH, WIDTH), (WIDTH, 1))
    )
    sums = features @ weights / np.sqrt(WIDTH)
    hidden = {"identity": sums, "tanh": np.tanh(np.sqrt(2) * sums), "relu": np.sqrt(2) * np.maximum(sums, 0)}
    basis = hidden[activation] / WIDTH
    hessian = 2 / count * basis.T @ basis
    draws = Draws(weights, readout[:, 0], features, targets[:, 0], np.zeros((0, 0), np.int64))
    problem = Problem(CONDITIONS[activation], WIDTH, steps, draws)
    return problem, 2 / np.linalg.eigvalsh(hessian)[-1]


def test_the_readout_alone_diverges_where_its_hessian_says():
    problem, critical = frozen("identity", 5001)  # the last loss is that after 5,000 updates
    assert critical == pytest.approx(55.10500, abs=5e-6)
    found = pixel_values(problem, np.zeros(2), critical * np.array([0.99, 1.01]))
    first = pixel_values(frozen("identity", 1)[0], np.zeros(1), np.ones(1)).final_loss[0]
    assert found.converged.tolist() == [True, False]
    assert found.final_loss[0] / first == pytest.approx(0.2485, abs=5e-5)
    assert found.final_loss[1] / first == pytest.approx(2.4e84, rel=0.02)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_same_for_fixed_hidden_values_of_any_activation(activation):
    problem, critical = frozen(activation, 3000)
    found = pixel_values(problem, np.zeros(2), critical * np.array([0.99, 1.01]))
    assert found.converged.tolist() == [True, False]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_small_learning_rates_converge(condition):
    places = 10 ** np.linspace(-9, -4, 40)
    # an offset at each step is no small matter: without learning it is what moves the loss
    x = np.full(40, 1e-12) if condition == "tanh_offset_each_step" else places
    assert pixel_values(problem_of(condition, width=5, steps=120), x, places).converged.all()


def test_no_learning_neither_converges_nor_moves():
    found = pixel_values(problem_of("tanh", width=5, steps=120), np.zeros(1), np.zeros(1))
    assert found.value.tolist() == [120.0]  # all relative losses are 1, and 1 is not below 1
    assert found.converged.tolist() == [False]
    assert found.steps_run.tolist() == [1]


@pytest.mark.parametrize("condition", ["tanh_minibatch", "tanh_offset", "tanh_offset_each_step", "relu", "identity"])
def test_no_learning_in_other_conditions(condition):
    problem = problem_of(condition, width=5, steps=120)
    found = pixel_values(problem, np.zeros(1), np.zeros(1))
    assert (found.value[0], found.steps_run[0] in (1, 120)) == (120.0, True)
