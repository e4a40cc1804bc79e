"""M1, the byte model that compresses: networks, training on windows, and integer frequencies for the coder.

M1 only ever sees a window from its start, a few bytes, so it is trained on just that: random places of the text,
a start symbol, the bytes that follow. n = rows, L = window length.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from models.equal_info.coder import cumulative_frequencies
from models.equal_info.ids import PAD_ID, SPECIAL_IDS
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.flops import training_flops_per_token
from models.training import (
    Metrics,
    OptimizerConfig,
    average,
    cross_entropy,
    initial_state,
    inputs_of,
    optimizer_of,
    train_step,
)
from models.training.model_file import arrays_of, check_arrays
from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of

START = 256
ROWS = 1024  # every network call has this many rows: other shapes may round differently


@dataclass(frozen=True)
class M1Config:
    """The network and its training.

    Attributes:
        kind: "recurrent" (one GRU, the default) or "decoder" (the paper's).
        width: GRU units; the decoder's sizes are in `decoder`.
        decoder: sizes of the decoder.
        window_bytes: L, the length trained on.
        batch: windows per step.
        steps: optimizer steps.
        learning_rate: peak of the schedule.
    """

    kind: Literal["recurrent", "decoder"] = "recurrent"
    width: int = 128
    decoder: LMConfig = field(default_factory=LMConfig)
    window_bytes: int = 24
    batch: int = 256
    steps: int = 1200
    learning_rate: float = 4e-3

    def __post_init__(self) -> None:
        if self.kind not in ("recurrent", "decoder"):
            raise ValueError(f'M1Config.kind must be "recurrent" or "decoder", got {self.kind!r}')
        for name in ("width", "window_bytes", "batch", "steps"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UserError(f"M1Config.{name} is {getattr(self, name)!r}", "give a whole number of at least 1")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"M1Config.learning_rate is {self.learning_rate!r}", "give a number above 0")


class RecurrentLM(nn.Module):
    """One GRU over bytes."""

    width: int

    def setup(self) -> None:
        """Names the layers."""
        self.embed = nn.Embed(START + 1, self.width)
        self.cell = nn.GRUCell(self.width)
        self.rnn = nn.RNN(self.cell)
        self.logits = nn.Dense(256)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Predicts each next byte; int [n, L] to float [n, L, 256]."""
        return self.logits(self.rnn(self.embed(tokens)))

    def one(self, memory: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Reads one token; float [n, width] and int [n] to the next memory and logits [n, 256]."""
        memory, out = self.cell(memory, self.embed(tokens))
        return memory, self.logits(out)


def network_of(config: M1Config) -> RecurrentLM | DecoderLM:
    """The untrained network."""
    if config.kind == "recurrent":
        return RecurrentLM(config.width)
    return DecoderLM(replace(config.decoder, vocab_size=START + 1))


def _first_shapes(config: M1Config) -> Any:
    shapes: Any = jax.eval_shape(network_of(config).init, jax.random.key(0), jnp.zeros((2, 2), jnp.int32))
    return shapes["params"]


def training_flops(config: M1Config) -> float:
    """FLOPs of M1's training, counted as language models' are: matrix products, forward and both gradients."""
    windows = config.steps * config.batch * config.window_bytes
    if config.kind == "decoder":
        decoder = replace(config.decoder, vocab_size=START + 1)
        return windows * training_flops_per_token(decoder, config.window_bytes)
    # three gates, each with one matrix for the input and one for the memory, then the logits
    return windows * 3 * 2.0 * (6 * config.width**2 + 256 * config.width)


def train_m1(
    config: M1Config,
    text: np.ndarray,
    key: jax.Array,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> "M1":
    """Trains on windows that start anywhere in the text.

    Args:
        config: the network and its training.
        text: uint8 [bytes], longer than a window.
        key: a JAX PRNG key; the same key, text and machine give the same network.
        on_step: called every 10 steps with the step number and the loss in nats per byte.

    Raises:
        ValueError: the text is shorter than one window, or the loss is no longer finite.
    """
    if len(text) <= config.window_bytes:
        raise ValueError(f"{len(text)} bytes of text are too few to train on: M1 needs over {config.window_bytes}")
    network = network_of(config)
    key, init_key = jax.random.split(key)
    params = network.init(init_key, jnp.zeros((2, config.window_bytes), jnp.int32))["params"]

    def loss(params: Any, windows: jax.Array) -> tuple[jax.Array, Metrics]:
        logits: Any = network.apply({"params": params}, inputs_of(windows, START))
        nats, _ = cross_entropy(logits[..., :256], windows)
        return nats.mean(), {"loss": average(nats.sum(), nats.size)}

    warmup_steps = max(1, min(100, config.steps // 4))
    optimizer = optimizer_of(
        OptimizerConfig(learning_rate=config.learning_rate, warmup_steps=warmup_steps), config.steps
    )
    state, step = initial_state(params, optimizer), jax.jit(train_step(loss, optimizer), donate_argnums=0)
    # numpy draws on the host: a gather from the whole text inside the step would keep all of it on the device
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    span = np.arange(config.window_bytes)
    for number in range(config.steps):
        starts = generator.integers(0, len(text) - config.window_bytes, config.batch)
        state, metrics = step(state, text[starts[:, None] + span].astype(np.int32))
        if number % 10 == 9 or number == config.steps - 1:  # looking at the loss waits for the device: not each step
            value = float(metrics["loss"].compute())
            if not math.isfinite(value):
                raise ValueError(f"M1's loss is {value} at step {number}; lower the learning rate")
            on_step(number + 1, value)
    return M1(config, jax.device_get(state.params))


class M1:
    """A trained byte model, read one byte at a time from a window's start.

    Attributes:
        config: its sizes.
        params: its parameters, a pytree of arrays.
    """

    def __init__(self, config: M1Config, params: Any) -> None:
        self.config, self.params = config, params
        self._network = network_of(config)

    def start(self, rows: int) -> np.ndarray:
        """The memory before a window's first byte, for some rows."""
        if self.config.kind == "recurrent":
            return np.zeros((rows, self.config.width), np.float32)
        return np.zeros((rows, 0), np.uint8)

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one symbol in each row.

        Args:
            memory: from `start` or an earlier `read`, [n, ...].
            symbols: int [n], bytes, or START for a window's start.
            precision: bits of the total frequency.

        Returns:
            The next memory, and the cumulative frequencies of the next byte, int32 [n, 257].
        """
        memories, frequencies = [], []
        for start in range(0, max(len(symbols), 1), ROWS):
            block, told = memory[start : start + ROWS], symbols[start : start + ROWS].astype(np.int32)
            rows = len(told)
            padding = ROWS - rows
            block = np.pad(block, [(0, padding), *[(0, 0)] * (block.ndim - 1)])
            told = np.pad(told, (0, padding))
            if self.config.kind == "recurrent":
                after, cumulative = self._read_recurrent(precision)(self.params, block, told)
            else:
                after, cumulative = self._read_decoder(block, told, precision)
            memories.append(np.asarray(after)[:rows])
            frequencies.append(np.asarray(cumulative)[:rows])
        return np.concatenate(memories), np.concatenate(frequencies)

    @functools.cache  # noqa: B019 - an M1 lives as long as its compiled functions
    def _read_recurrent(self, precision: int) -> Callable[..., Any]:
        @jax.jit
        def read(params: Any, memory: jax.Array, symbols: jax.Array) -> tuple[jax.Array, jax.Array]:
            out: Any = self._network.apply({"params": params}, memory, symbols, method="one")
            return out[0], cumulative_frequencies(out[1], precision)

        return read

    def _read_decoder(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, jax.Array]:
        """The decoder's memory is the window so far; it is read whole, padded to a power of two."""
        if memory.shape[1] == 0 and symbols[0] == START:
            window = np.full((len(symbols), 1), START, np.int32)
        else:
            after = np.concatenate([memory, symbols[:, None].astype(np.uint8)], axis=1)
            window = np.pad(after.astype(np.int32), ((0, 0), (1, 0)), constant_values=START)
        length = window.shape[1]
        padded = np.pad(window, ((0, 0), (0, (1 << max(3, (length - 1).bit_length())) - length)))
        cumulative = self._decoder_frequencies(precision)(self.params, padded, length - 1)
        return window[:, 1:].astype(np.uint8), cumulative

    @functools.cache  # noqa: B019
    def _decoder_frequencies(self, precision: int) -> Callable[..., jax.Array]:
        @jax.jit
        def frequencies(params: Any, tokens: jax.Array, last: jax.Array) -> jax.Array:
            logits: Any = self._network.apply({"params": params}, tokens)
            return cumulative_frequencies(logits[:, last, :256], precision)

        return frequencies

    def to_bytes(self) -> bytes:
        """The model as bytes: a line of JSON with the config, then the parameters in MessagePack."""
        return canonical_json(asdict(self.config)).encode() + b"\n" + flax.serialization.msgpack_serialize(self.params)

    @classmethod
    def from_bytes(cls, data: bytes) -> "M1":
        """The model that `to_bytes` wrote; UserError where the bytes are none."""
        header, _, params = data.partition(b"\n")
        try:
            told = json_object_of(header)
            config = M1Config(**{**told, "decoder": LMConfig(**told["decoder"])})
            arrays = arrays_of(params)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"not a trained M1: {type(error).__name__}", "give the m1.bin of a run") from error
        check_arrays(
            arrays, told, lambda: _first_shapes(config), "the M1", f"a {config.kind} network", "train it again"
        )
        return cls(config, arrays)


def m1_of_lm(model: TrainedLM, window_bytes: int) -> M1:
    """A language model over bytes, ids = byte + 2 (`ids`), as an M1: so the paper's M1 may be trained under T5X.

    Args:
        model: its start id, 0, becomes START; what it says of its other ids is left out.
        window_bytes: the length that it was trained on.

    Raises:
        UserError: the model has too few ids for bytes.
    """
    if model.config.vocab_size < 256 + SPECIAL_IDS:
        raise UserError(f"a model of {model.config.vocab_size} ids is none over bytes", "train it on --codec bytes")
    bytes_then_start = np.append(np.arange(256) + SPECIAL_IDS, PAD_ID)
    params = {
        **model.params,
        "embedding": np.asarray(model.params["embedding"])[bytes_then_start],
        "logits": {"kernel": np.asarray(model.params["logits"]["kernel"])[:, bytes_then_start]},
    }
    decoder = replace(model.config, vocab_size=START + 1)
    return M1(M1Config(kind="decoder", decoder=decoder, window_bytes=window_bytes), params)


def bits_per_byte(m1: M1, text: np.ndarray, windows: int = 4096, seed: int = 0) -> float:
    """Held-out cross-entropy of integer frequencies over random windows, bits per byte, context reset per window."""
    generator = np.random.default_rng(seed)
    span = np.arange(m1.config.window_bytes)
    starts = generator.integers(0, max(1, len(text) - m1.config.window_bytes), windows)
    bytes_of = text[starts[:, None] + span]
    memory, symbols = m1.start(windows), np.full(windows, START)
    bits = 0.0
    for column in range(m1.config.window_bytes):
        memory, cumulative = m1.read(memory, symbols, 14)
        symbols = bytes_of[:, column]
        frequency = np.take_along_axis(np.diff(cumulative, axis=1), symbols[:, None].astype(np.int64), 1)
        bits -= float(np.log2(frequency / 2**14).sum())
    return bits / bytes_of.size
