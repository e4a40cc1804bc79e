"""Diffusion models composed as densities and sampled by MCMC (Reduce, Reuse, Recycle, arXiv:2302.11552).

from shammie import composition as c

both = ring * bar              # of_log_density, of_score, gaussian_mixture, or TrainedDiffusion.density() make them
frame = c.negation(box, without=middle, strength=0.3)
config = c.SamplerConfig("hmc", target_acceptance=0.8)
samples = c.sample(key, both, config, chains=1000)
x = c.drawn(samples, config).x_MX                   # the points; warns of what went wrong
"""

from models.composition.algebra import (
    guided,
    likelihood,
    mixture,
    negation,
    on_canvas,
    product,
    product_over,
    tapestry,
    uniform,
)
from models.composition.annealing import Samples, sample
from models.composition.density import Density, of_log_density, of_score
from models.composition.diagnostics import drawn
from models.composition.gaussians import gaussian, gaussian_mixture
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from models.composition.trained import TrainedDiffusion

__all__ = [
    "Density",
    "NoiseSchedule",
    "SamplerConfig",
    "Samples",
    "TrainedDiffusion",
    "drawn",
    "gaussian",
    "gaussian_mixture",
    "guided",
    "likelihood",
    "mixture",
    "negation",
    "of_log_density",
    "of_score",
    "on_canvas",
    "product",
    "product_over",
    "sample",
    "tapestry",
    "uniform",
]
