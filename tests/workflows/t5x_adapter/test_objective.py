"""An objective that is no language model takes the same steps under T5X's Trainer and the bundled one. Needs T5X."""

import sys
from pathlib import Path
from typing import Any

import flax.core
import jax
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "train"))  # where regression_job lies
import regression_job as regression  # pyright: ignore[reportMissingImports]

from workflows.train import exchange, train_job
from workflows.train.compute import compute_of
from workflows.train.mesh import make_mesh

pytestmark = [pytest.mark.t5x, pytest.mark.usefixtures("t5x")]


@pytest.mark.parametrize("microbatches", [1, 2])
def test_steps_are_the_bundled_trainers(microbatches: int, tmp_path: Path) -> None:
    import seqio
    from t5x import partitioning, train_state, trainer  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter

    class Model(t5x_adapter.ObjectiveModel):
        def predict_batch_with_aux(self, params: Any, batch: Any, rng: Any = None) -> Any:
            y = regression.Linear(2).apply({"params": self.weights_of(params)}, self.ours(batch)["x"])
            return y, {}

        def score_batch(self, params: Any, batch: Any, return_intermediates: bool = False) -> Any:
            raise NotImplementedError

    assert Model.FEATURE_CONVERTER_CLS is seqio.PassThroughFeatureConverter
    config = regression.config_of(steps=3, log_every=1, microbatches=microbatches)
    job = regression.job_of(config)
    ours = train_job(job, str(tmp_path / "ours"))
    parts = None if microbatches == 1 else microbatches
    resident = {"truth": regression.TRUTH.astype(np.float32)}
    model = Model(job.objective, config.optimizer, steps=3, microbatches=parts, resident=resident)
    variables = model.get_initial_variables(jax.random.key(1), {})
    begun, _ = compute_of(job.objective, config, make_mesh(1, 1), job.resident).start(config.seed)
    params = flax.core.freeze(jax.device_get(begun.params))
    state: Any = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables).replace_params(params)
    partitioner = t5x_adapter.partitioner(config, num_partitions=1)
    assert isinstance(partitioner, partitioning.PjitPartitioner)
    theirs = trainer.Trainer(
        model=model,
        train_state=state,
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=partitioner.get_mesh_axes(state),
        rng=jax.random.key(2),
        learning_rate_fn=t5x_adapter.learning_rate(config.optimizer, steps=3),
        num_microbatches=parts,
    )
    for step, row in enumerate(ours.rows):
        told = theirs.train(iter([{"targets": job.load(step, 1)}]), 1).result()
        assert told["loss"].value == pytest.approx(row["loss"], rel=1e-5)
    after = theirs.train_state.params
    np.testing.assert_allclose(np.asarray(after["kernel"]), np.asarray(ours.state.params["kernel"]), rtol=1e-5)
    batch = {"targets": job.load(0, 1)}
    loss, metrics = model.eval_fn(after, batch)
    assert float(loss) == pytest.approx(float(metrics["loss"].compute()), rel=1e-6)
    assert float(model.loss_fn(after, batch, None)[0]) == pytest.approx(float(loss) / microbatches, rel=1e-6)
    y, _ = model.predict_batch_with_aux(after, batch)
    assert float(np.square(np.asarray(y) - np.asarray(model.ours(batch)["y"])).sum(1).mean()) == pytest.approx(
        float(loss), rel=1e-5
    )
    # what T5X saves of such a run is what the trainer's state becomes
    path = exchange.write(ours.state, str(tmp_path / "t5x"))
    places = compute_of(job.objective, config, make_mesh(1, 1), job.resident).places[0]
    np.testing.assert_array_equal(
        np.asarray(exchange.read(path, places).params["kernel"]), np.asarray(ours.state.params["kernel"])
    )
