"""Beam's RunInference for a decoder of `models.lm`, in JAX: one model per worker process, shared by its threads.

Beam ships no handler for JAX. This one answers whole groups of requests (`beam_jobs.inference.requests`): Beam's own
batches depend on timing, and a sample's bits on the rows that are computed beside it, so what is computed together is
decided by the groups alone. Within a group the sampler (`models.lm.sampler`) decodes a fixed number of rows at a time
and gives the place of a row that has ended to the next request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.artefacts import check_shipped
from beam_jobs.inference.requests import Answered, Completion, Generation, Group
from beam_jobs.runner import for_the_driver
from models.equal_info.ids import PAD_ID, codes_of_ids, ids_of_codes
from models.equal_info.load import AnyCodec, load_codec
from models.lm import DecoderLM
from models.lm.artefact import TrainedLM
from models.lm.sampler import Slots, sample
from shammie.files import read_bytes


@dataclass(frozen=True)
class LoadedLM:
    """A model and the codec of its ids."""

    model: TrainedLM
    codec: AnyCodec

    def prompt_ids(self, prompts: Sequence[str]) -> list[np.ndarray]:
        """What the model reads: the start id (0, as T5X begins), then the prompt; int32 [tokens] each."""
        start = np.array([PAD_ID], np.int32)
        codes = self.codec.encode_batch([prompt.encode() for prompt in prompts])
        return [np.append(start, ids_of_codes(one)) for one in codes]

    def text(self, ids: np.ndarray) -> str:
        """The text of drawn ids up to their end; what is no UTF-8 is replaced."""
        return self.codec.decode_prefix(codes_of_ids(ids)).decode(errors="replace")


def load_lm(model: str, codec: str) -> LoadedLM:
    """Reads a model and its codec.

    Args:
        model: a file of `models.lm.artefact.TrainedLM`, local or remote.
        codec: a codec's file, or a word of `models.equal_info.load.load_codec`.

    Raises:
        UserError: one of them is missing or damaged, or the model reads the ids of another codec.
    """
    check_shipped(model)
    check_shipped(codec)
    loaded = load_codec(codec)
    return LoadedLM(TrainedLM.from_bytes(read_bytes(model), made_with=loaded.fingerprint), loaded)


class LMHandler(ModelHandler[Group, Answered, LoadedLM]):
    """Answers groups by a model of ours.

    Args:
        model: the file of the model.
        codec: the file of its codec, or a reserved word.
        generation: how tokens are drawn, and the most of them.
        slots: how many rows are decoded together, and how.
        folder: the job's output, where errors are left for the driver.
    """

    def __init__(
        self, model: str, codec: str, generation: Generation, slots: Slots | None = None, *, folder: str = ""
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)  # a group is a batch of its own already
        self.folder = folder
        self.model, self.codec, self.generation, self.slots = model, codec, generation, slots or Slots()

    def load_model(self) -> LoadedLM:
        """The model; Beam calls this once for each worker process."""
        with for_the_driver(self.folder):
            return load_lm(self.model, self.codec)

    def run_inference(
        self, batch: Sequence[Group], model: LoadedLM, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Answered]:
        """One answer for each group; errors that a person can mend travel to the driver."""
        with for_the_driver(self.folder):
            return [answer(group, model, self.generation, self.slots) for group in batch]

    def get_metrics_namespace(self) -> str:
        """The namespace of Beam's counters."""
        return "lm"


def answer(group: Group, model: LoadedLM, generation: Generation, slots: Slots) -> Answered:
    """Samples a group's completions."""
    ids = model.prompt_ids([request.prompt for request in group.requests])
    drawn = sample(
        DecoderLM(model.model.config),
        model.model.params,
        ids,
        [request.seed for request in group.requests],
        slots=slots,
        new_tokens=generation.new_tokens,
        sampling=generation.sampling,
    )
    completions = tuple(
        Completion(
            id=request.id,
            text=model.text(tokens),
            tokens=len(tokens),
            finished=finished,
            log_probability=round(float(np.sum(log_probabilities, dtype=np.float64)), 4),
        )
        for request, tokens, log_probabilities, finished in zip(
            group.requests, drawn.tokens, drawn.log_probabilities, drawn.finished, strict=True
        )
    )
    names = ("decode_steps", "slot_steps", "slot_steps_used", "prefill_tokens")
    return Answered(group.number, completions, {name: int(getattr(drawn, name)) for name in names})
