import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from beam_jobs.inference.requests import Generation
from beam_jobs.rest_em.sample import LocalModel, SampleConfig
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.lm.sampler import Slots
from models.rest_em.records import Problem, write_records

NETWORK = LMConfig(vocab_size=258, width=16, layers=1, heads=1, head_width=16, mlp_width=16, max_distance=8)


@pytest.fixture(scope="session")
def lm_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of random weights over bytes: what it writes is noise, but the same noise every time."""
    params = DecoderLM(NETWORK).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    path = tmp_path_factory.mktemp("lm") / "lm.bin"
    path.write_bytes(TrainedLM(NETWORK, params, BytesCodec().fingerprint).to_bytes())
    return str(path)


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    """Sums whose answers are one digit, so that noise is right now and then; prompts of unequal length."""
    return [
        Problem(
            id=f"sum/{n:02d}",
            prompt=f"{'0' * (n % 7)}{n % 4} + {n % 3} =",
            verifier="number",
            answer=str(n % 4 + n % 3),
        )
        for n in range(20)
    ]


@pytest.fixture
def problems_path(tmp_path: Path, problems: list[Problem]) -> str:
    path = tmp_path / "problems.jsonl"
    write_records(str(path), problems)
    return str(path)


@pytest.fixture
def job(tmp_path: Path, problems_path: str, lm_path: str) -> Callable[..., SampleConfig]:
    """Makes a SampleConfig of small groups."""

    def make(output: str = "samples", **settings) -> SampleConfig:
        given = {
            "problems": problems_path,
            "output": str(tmp_path / output),
            "model": LocalModel(lm_path, "bytes"),
            "generation": Generation(Sampling(temperature=0.7, top_k=40), 6),
            "samples": 4,
            "group_samples": 12,
            "slots": Slots(slots=4, prompts=2),
        }
        return SampleConfig(**{**given, **settings})

    return make


@pytest.fixture
def hashes() -> Callable[[str], dict[str, str]]:
    """The content of all files of a folder."""

    def of(folder: str) -> dict[str, str]:
        paths = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    return of
