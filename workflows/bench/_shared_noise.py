"""The reference's NRES on Lorenz, timed: a program for a Python where google/learned_optimization can be imported.

`shammie bench evolution --reference PYTHON` runs it there, with the reference's checkout on PYTHONPATH; it imports
nothing of ours. It prints one line of JSON: the seconds of each timed estimate.
"""

import importlib
import json
import sys
import time
from typing import Any


def main(particles: int, window: int, horizon: int, repeats: int) -> None:
    """Times TruncatedESSharedNoise on Lorenz, as its authors set the problem up."""
    jax: Any = importlib.import_module("jax")
    jnp = jax.numpy
    trainers, research = "learned_optimization.outer_trainers", "learned_optimization.research.hysteresis"
    gradient_learner: Any = importlib.import_module(f"{trainers}.gradient_learner")
    truncated_step: Any = importlib.import_module(f"{trainers}.truncated_step")
    shared_noise: Any = importlib.import_module(f"{research}.truncated_es_shared_noise")

    def euler(state: tuple[Any, ...], a: Any, r: Any) -> tuple[Any, ...]:
        x, y, z = state
        return x + a * (y - x) * 0.005, y + ((r - z) * x - y) * 0.005, z + (x * y - 8 / 3 * z) * 0.005

    class Lorenz(truncated_step.TruncatedStep):
        def outer_init(self, key: Any) -> dict[str, Any]:
            return {"log_a": jnp.asarray(3.116), "log_r": jnp.asarray(3.7)}

        def init_step_state(self, theta: Any, outer_state: Any, key: Any, **_: Any) -> Any:
            start = tuple(jnp.asarray(value) for value in (1.2, 1.3, 1.6))
            return start, start, jax.random.randint(key, (), 0, horizon // window) * window

        def get_batch(self, steps: int | None = None) -> Any:
            return jnp.zeros((particles,))

        def unroll_step(  # the last two are how the reference calls it
            self, theta: dict[str, Any], unroll_state: Any, key: Any, data: Any, outer_state: Any
        ) -> tuple[Any, Any]:
            ours, true, step = unroll_state
            ours = euler(ours, jnp.exp(theta["log_a"]), jnp.exp(theta["log_r"]))
            true = euler(true, jnp.asarray(10.0), jnp.asarray(28.0))
            step = step + 1
            done = step >= horizon
            start = *self.init_step_state(theta, outer_state, key)[:2], step * 0
            after = jax.tree.map(lambda new, old: jnp.where(done, new, old), start, (ours, true, step))
            out = truncated_step.TruncatedUnrollOut(
                loss=jnp.square(ours[2] - true[2]),
                is_done=done,
                task_param=jnp.zeros(()),
                iteration=step,
                mask=jnp.asarray(True),
            )
            return after, out

    several = truncated_step.VectorizedTruncatedStep(Lorenz(), particles)
    estimator = shared_noise.TruncatedESSharedNoise(several, unroll_length=window, std=0.04)
    theta = Lorenz().outer_init(jax.random.PRNGKey(0))
    weights = gradient_learner.WorkerWeights(theta, None, gradient_learner.OuterState(jnp.asarray(0)))
    state = estimator.init_worker_state(weights, jax.random.PRNGKey(1))
    seconds = []
    for number in range(repeats + 1):
        begun = time.perf_counter()
        found, _ = estimator.compute_gradient_estimate(weights, jax.random.PRNGKey(number), state)
        jax.block_until_ready((found.grad, found.unroll_state))
        state = found.unroll_state
        if number:  # the first compiles
            seconds.append(time.perf_counter() - begun)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
