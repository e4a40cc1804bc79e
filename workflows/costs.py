"""The command: python -m workflows.costs; what the paper's runs cost, from formulas, as the tables of docs/tpu_pod.md.

Nothing here was run on a TPU: chip-hours are FLOPs divided by a peak and an assumed share of it. The runs are those of
gin/train/equal_info_*.gin, whose sizes and steps gin/t5x/equal_info_*.gin share (arXiv:2404.03626 Table 4, sections 3.4
to 3.6); bytes per token are the paper's, of 16-bit windows on C4 (Table 2).
"""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from models.lm import DecoderLM, LMConfig
from models.lm.flops import forward_flops_per_token, training_flops_per_token
from models.training import OptimizerConfig, initial_state, optimizer_of
from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people
from workflows import cost_model, equal_info_paper, gin_config
from workflows.cost_model import UTILISATION
from workflows.train import TrainConfig

PROGRAM = "workflows.costs"
PEAK_FLOPS_PER_S = {chip: cost_model.PEAK_FLOPS_PER_S[chip] for chip in ("v4", "v5e")}
EXAMPLE_BYTES = 10_240  # of text in an example, of which M2 reads the first 512 tokens (section 3.1)
CODEC_BYTES_PER_S = 237e6  # one core, `shammie bench codec`
BEAM_SHARE = 0.69  # of that, within the job: `shammie bench pipeline`, text of 300 MB
FIRST_ID = 2  # 0 pads, 1 ends a document
CHIPS = 64  # of the example below the tables
METHODS = {258: "greedy_windows:16/8", 65_538: "greedy_windows:16/16"}  # ids to the paper's row that has so many


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        name: its size in the paper.
        config: what gin/train/equal_info_NAME.gin says, with this many ids.
        bytes_per_token: of text.
        example_bytes: of text in each example that a sequence is the start of.
    """

    name: str
    config: TrainConfig
    bytes_per_token: float
    example_bytes: int

    @property
    def sequences(self) -> int:
        """Steps * batch."""
        return self.config.steps * self.config.batch_size

    @property
    def tokens(self) -> int:
        """Steps * batch * length."""
        return self.sequences * self.config.length

    @property
    def flops(self) -> float:
        """Tokens * FLOPs of a token in training (`models.lm.flops.training_flops_per_token`)."""
        return self.tokens * training_flops_per_token(self.config.model, self.config.length)

    @property
    def text_bytes(self) -> float:
        """Text that is trained on: tokens * bytes per token."""
        return self.tokens * self.bytes_per_token

    @property
    def read_bytes(self) -> float:
        """What hosts read: whole examples, though only their start is trained on.

        sequences * (example bytes / bytes per token) * bytes of an id; framing (about 40 bytes an example) is left out.
        """
        return self.sequences * self.example_bytes / self.bytes_per_token * id_bytes(self.config.model.vocab_size)

    @property
    def evaluation_flops(self) -> float:
        """One evaluation: batches * batch * length * FLOPs of a forward pass."""
        tokens = self.config.eval_batches * self.config.tokens_per_step
        return tokens * forward_flops_per_token(self.config.model, self.config.length)


def run_of(name: str, vocab_size: int) -> Run:
    """The run of gin/train/equal_info_NAME.gin.

    Args:
        name: 3m for M1, over bytes in examples of their own length; 25m, 113m, 403m or 2b for M2.
        vocab_size: ids; those of METHODS for M2.
    """
    gin_config.parse([f"gin/train/equal_info_{name}.gin"], ["DATA='none'", f"VOCAB_SIZE={vocab_size}"])
    config = gin_config.call(TrainConfig)
    if vocab_size not in METHODS:
        return Run(name, config, 1.0, config.length)
    return Run(name, config, equal_info_paper.ROWS[METHODS[vocab_size]].bytes_per_token, EXAMPLE_BYTES)


def id_bytes(vocab_size: int) -> float:
    """Mean bytes of an id in a shard, were all ids equally frequent, as those of Equal-Info windows nearly are.

    The ids from 2 to vocab_size - 1 as varints: 1 byte below 2^7, 2 below 2^14, else 3.
    """
    ids = range(FIRST_ID, vocab_size)
    return sum(-(-number.bit_length() // 7) for number in ids) / len(ids)


@functools.cache
def state_numbers(model: LMConfig, optimizer: OptimizerConfig) -> tuple[int, int]:
    """Numbers in a checkpoint: parameters, and the optimizer's state; float32, 4 bytes each. No array is made.

    Parameters: 2 V D + layers (4 D H K + 3 D M + R K + 2 D) + D, R being the distances. Adafactor keeps a mean of each
    row and of each column of a matrix with at least 128 of both, and a number for each parameter elsewhere.
    """

    def make(key: jax.Array):
        params = DecoderLM(model).init(key, jnp.zeros((1, 2), jnp.int32))["params"]
        return initial_state(params, optimizer_of(optimizer, 1))

    state = jax.eval_shape(make, jax.random.key(0))
    parameters, rest = (sum(leaf.size for leaf in jax.tree.leaves(part)) for part in (state.params, state[2]))
    return parameters, rest


def checkpoint_bytes(run: Run) -> int:
    """4 * (parameters + the optimizer's state), before Orbax compresses it."""
    return 4 * sum(state_numbers(run.config.model, run.config.optimizer))


def chip_hours(flops: float, chip: str, utilisation: float = UTILISATION) -> float:
    """FLOPs / (peak of a chip * utilisation) / 3600."""
    return flops / (PEAK_FLOPS_PER_S[chip] * utilisation) / 3600


def codec_core_hours(text_bytes: float) -> float:
    """Encoding by the compiled codec in Beam: bytes / (237 MB/s * 0.69) / 3600, on one core."""
    return text_bytes / (CODEC_BYTES_PER_S * BEAM_SHARE) / 3600


def input_bytes_per_s(run: Run, chip: str, utilisation: float = UTILISATION) -> float:
    """What must be read for each chip: bytes read / seconds of one chip."""
    return run.read_bytes / (3600 * chip_hours(run.flops, chip, utilisation))


def m2_runs() -> list[Run]:
    """M2 in every size, with the ids of 8 and of 16 bits."""
    return [run_of(size, ids) for size in equal_info_paper.SIZES for ids in METHODS]


def markdown(utilisation: float = UTILISATION) -> str:
    """Both tables and the lines below them.

    Args:
        utilisation: the share of the peak that training reaches, above 0 and at most 1.
    """
    if not 0 < utilisation <= 1:
        raise UserError(f"--utilisation={utilisation} is no share", "give a number above 0 and at most 1")
    hours = lambda flops: [f"{chip_hours(flops, chip, utilisation):,.1f}" for chip in PEAK_FLOPS_PER_S]  # noqa: E731
    m1, m2 = run_of("3m", 257), m2_runs()
    text = m2[0].sequences * float(EXAMPLE_BYTES)
    by_m1 = text * equal_info_paper.M1_FLOPS_PER_BYTE
    chips = [f"{chip} chip-hours" for chip in PEAK_FLOPS_PER_S]
    before = [
        [f"M1 3m, {_training(m1)}", _giga(m1.text_bytes), _power(m1.flops), *hours(m1.flops), ""],
        ["C4 encoded by M1, 6 MFLOPs a byte", _giga(text), _power(by_m1), *hours(by_m1), ""],
        ["C4 encoded by a compiled codec in Beam", _giga(text), "", "", "", f"{codec_core_hours(text):.2f}"],
    ]
    rows = []
    for run in m2:
        model = run.config.model
        parameters, _ = state_numbers(model, run.config.optimizer)
        paper = equal_info_paper.ROWS[METHODS[model.vocab_size]].flops_per_byte(run.name) or 0.0
        rows.append(
            [
                run.name,
                f"{model.vocab_size:,}",
                f"{model.block_parameters() / 1e6:,.1f}",
                f"{parameters / 1e6:,.1f}",
                _power(run.flops),
                *hours(run.flops),
                _giga(run.text_bytes),
                _giga(run.read_bytes),
                f"{input_bytes_per_s(run, 'v4', utilisation) / 1e6:.2f}",
                f"{checkpoint_bytes(run) / 1e9:.2f}",
                _power(run.evaluation_flops),
                f"{paper / 1e6:,.2f}",
            ]
        )
    heads = ["M2", "ids", "M block parameters", "M parameters", "training FLOPs", *chips, "GB of text", "GB read"]
    heads += ["MB/s read, v4 chip", "GB checkpoint", "FLOPs of an evaluation", "MFLOPs a byte, paper"]
    peaks = ", ".join(f"{chip} {peak / 1e12:.0f}" for chip, peak in PEAK_FLOPS_PER_S.items())
    example = next(run for run in m2 if (run.name, run.config.model.vocab_size) == ("403m", 65_538))
    wall = chip_hours(example.flops, "v4", utilisation) / CHIPS
    steps_per_s = example.config.steps / wall / 3600
    read = CHIPS * input_bytes_per_s(example, "v4", utilisation) / 1e6
    return "\n".join(
        [
            *_table(["before M2", "GB of text", "FLOPs", *chips, "core-hours"], before),
            "",
            *_table(heads, rows),
            "",
            f"Every M2 run is {_training(example)} = {example.tokens / 1e9:.1f}B tokens. Chip-hours are estimates: "
            f"FLOPs / (peak x {utilisation:g}), peaks of a chip in TFLOP/s of bfloat16: {peaks}.",
            f"403m with 65,538 ids on {CHIPS} v4 chips: {wall:.1f} hours, {steps_per_s:.1f} steps/s, "
            f"{read:.0f} MB/s read by all hosts together.",
        ]
    )


def _training(run: Run) -> str:
    config = run.config
    return f"{config.steps:,} steps x {config.batch_size} x {config.length:,}"


def _giga(count: float) -> str:
    return f"{count / 1e9:,.1f}"


def _power(count: float) -> str:
    return f"{count:.2e}".replace("e+", "e")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        flags = Parser(prog=f"python -m {PROGRAM}", description="What the paper's runs cost, from formulas.")
        flags.add_argument(
            "--utilisation", type=float, default=UTILISATION, help="share of a chip's peak (default: 0.4)"
        )
        try:
            arguments = flags.parse_args(words)
        except SystemExit:  # --help
            return
        print(markdown(arguments.utilisation))

    return run_for_people(work, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
