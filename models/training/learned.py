"""The learned optimizers among the trainer's: VeLO and STAR (`models.learned_optimizers`)."""

import optax

LEARNED = ("velo", "star")


def learned(name: str, weights: str | None, steps: int) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer with its meta-trained weights.

    It was meta-trained on gradients as they come and decides its own steps, so neither clipping, a schedule nor weight
    decay stands around it.

    Args:
        name: one of LEARNED.
        weights: the file of the weights; None: those that ship, which STAR has.
        steps: of the run, which VeLO plans by.

    Raises:
        UserError: there are no such weights, or they are another optimizer's.
    """
    from models.learned_optimizers import face  # not for those who train with Adam

    return (face.velo if name == "velo" else face.star)(steps, weights)
