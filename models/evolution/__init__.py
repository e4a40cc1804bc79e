"""Gradients of unrolled computations by evolution strategies and by differentiation (arXiv:2304.12180)."""

from models.evolution.config import EvolutionConfig
from models.evolution.es import gpes, nres, pes, truncated_es
from models.evolution.estimator import Estimator, Info
from models.evolution.forward_mode import dodge, uoro
from models.evolution.meta_training import Curve, MetaState, advance, begin, meta_train
from models.evolution.reverse_mode import backprop, truncated_backprop
from models.evolution.sharding import shard_workers, worker_sharding
from models.evolution.unrolled import Unrolled, losses, mean_loss
from models.evolution.whole_episode import full_es

__all__ = [
    "Curve",
    "Estimator",
    "EvolutionConfig",
    "Info",
    "MetaState",
    "Unrolled",
    "advance",
    "backprop",
    "begin",
    "dodge",
    "full_es",
    "gpes",
    "losses",
    "mean_loss",
    "meta_train",
    "nres",
    "pes",
    "shard_workers",
    "truncated_backprop",
    "truncated_es",
    "uoro",
    "worker_sharding",
]
