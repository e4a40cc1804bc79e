"""Beam's RunInference for any OpenAI-compatible endpoint: see `beam_jobs.inference.endpoint` for servers and limits."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.metrics.metric import Metrics
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.requests import Answered, Generation, Group
from beam_jobs.runner import for_the_driver

NAMESPACE = "endpoint"


class EndpointHandler(ModelHandler[Group, Answered, EndpointClient]):
    """Answers groups by an endpoint.

    Beam makes one client for each worker process and its threads share it, so that the limits of `EndpointConfig` hold
    for a process, and a cluster asks as many times as fast as it has processes.

    Args:
        config: the endpoint.
        generation: how tokens are drawn, and the most of them.
        folder: the job's output, where errors are left for the driver.
    """

    def __init__(self, config: EndpointConfig, generation: Generation, *, folder: str = "") -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)  # a group is a batch of its own already
        self.config, self.generation, self.folder = config, generation, folder

    def load_model(self) -> EndpointClient:
        """The client; Beam calls this once for each worker process."""
        with for_the_driver(self.folder):
            return EndpointClient(self.config, self.generation)

    def run_inference(
        self, batch: Sequence[Group], model: EndpointClient, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Answered]:
        """One answer for each group; errors that a person can mend travel to the driver."""
        with for_the_driver(self.folder):
            answered = [model.answer(group) for group in batch]
        for one in answered:
            for name, count in one.counters.items():
                Metrics.counter(NAMESPACE, name).inc(count)
        return answered

    def get_metrics_namespace(self) -> str:
        """The namespace of Beam's counters, and of ours: `endpoint_client.COUNTERS`."""
        return NAMESPACE
