"""Every system and its experiments: one row each, importing nothing heavy."""

from dataclasses import dataclass

from shammie.errors import unknown


@dataclass(frozen=True)
class Experiment:
    """One experiment: its name (the word for --size), gin file, what it shows, and minutes on 2 CPU cores."""

    name: str
    gin_file: str
    shows: str
    minutes: str


@dataclass(frozen=True)
class System:
    """One system; its module `workflows.NAME` has `steps(input=(), beam_flags=()) -> list[Step]`, the report last."""

    name: str
    paper: str
    summary: str
    experiments: tuple[Experiment, ...]

    @property
    def module(self) -> str:
        """The dotted name of the module that declares its DAG."""
        return f"workflows.{self.name}"

    def experiment(self, name: str) -> Experiment:
        """The experiment of a name; UserError with the nearest names where there is none."""
        for one in self.experiments:
            if one.name == name:
                return one
        raise unknown(f"size of {self.name}", name, [one.name for one in self.experiments])


SYSTEMS: dict[str, System] = {
    one.name: one
    for one in [
        System(
            "equal_info",
            "arXiv:2404.03626",
            "a neural compressor turned into a lossless codec at tokenizer speed, and language models over its tokens",
            (
                Experiment(
                    "main",
                    "gin/equal_info/main.gin",
                    "every code and its language model on real text, beside the peers",
                    "13",
                ),
                Experiment("tiny", "gin/equal_info/tiny.gin", "the whole path, at toy size; no claims", "1"),
                Experiment(
                    "small", "gin/equal_info/small.gin", "seeds and intervals behind the README's numbers", "90"
                ),
                Experiment("default", "gin/equal_info/default.gin", "the codec that ships, from text of yours", "15"),
                Experiment("paper", "gin/equal_info/paper.gin", "the paper's model sizes", "a cluster"),
                Experiment(
                    "paper_table_small",
                    "gin/equal_info/paper_table_small.gin",
                    "the paper's table at small scale: 29 methods, three sizes, all analyses",
                    "600",
                ),
                Experiment(
                    "paper_table_tiny", "gin/equal_info/paper_table_tiny.gin", "the path of the paper's table", "1"
                ),
                Experiment("paper_table", "gin/equal_info/paper_table.gin", "the paper's whole grid", "a cluster"),
            ),
        ),
        System(
            "rest_em",
            "arXiv:2312.06585",
            "sample, verify, filter, fine-tune from base, repeat",
            (
                Experiment("main", "gin/rest_em/main.gin", "three iterations from a base trained on the spot", "5"),
                Experiment("tiny", "gin/rest_em/tiny.gin", "the whole loop at toy size; no claims", "1"),
                Experiment("small", "gin/rest_em/small.gin", "two sizes, three seeds, the paper's comparisons", "150"),
                Experiment("files", "gin/rest_em/files.gin", "the loop on released files of yours", "hours"),
                Experiment("paper", "gin/rest_em/paper.gin", "the paper's settings, on your base", "a cluster"),
            ),
        ),
        System(
            "parameterization",
            "arXiv:2407.05872",
            "parameterization, optimizer and alignment grids, learning-rate transfer, Adam-atan2",
            (
                Experiment(
                    "main", "gin/parameterization/main.gin", "which learning rates hold at every width, under Adam", "5"
                ),
                Experiment("tiny", "gin/parameterization/tiny.gin", "every kind of cell at toy size; no claims", "1"),
                Experiment(
                    "small",
                    "gin/parameterization/small.gin",
                    "four parameterizations, three optimizers and an LM, with seeds and intervals",
                    "60",
                ),
                Experiment("paper", "gin/parameterization/paper.gin", "the paper's widths to 26.8B", "a cluster"),
            ),
        ),
        System(
            "trainability",
            "arXiv:2402.06184",
            "images, zooms and dimensions of the boundary between training that converges and training that diverges",
            (
                Experiment("main", "gin/trainability/main.gin", "a zoom of ten decades, its film and its page", "2"),
                Experiment("tiny", "gin/trainability/tiny.gin", "the whole path at toy size; no claims", "1"),
                Experiment("small", "gin/trainability/small.gin", "all conditions and their dimensions", "40"),
                Experiment("paper", "gin/trainability/paper.gin", "all conditions at 4096 x 4096 pixels", "a cluster"),
            ),
        ),
        System(
            "in_context",
            "arXiv:2212.04458",
            "meta-trained in-context learners and their phase diagrams",
            (
                Experiment("main", "gin/in_context/main.gin", "memorise, identify, generalise: a small map", "3"),
                Experiment("tiny", "gin/in_context/tiny.gin", "every kind of step at toy size; no claims", "1"),
                Experiment("small", "gin/in_context/small.gin", "the whole phase map, states, plateaus", "90"),
                Experiment("shipped", "gin/in_context/shipped.gin", "the learner that ships, made again", "20"),
                Experiment("paper", "gin/in_context/paper.gin", "the paper's sizes and data", "an accelerator"),
            ),
        ),
        System(
            "composition",
            "arXiv:2302.11552",
            "diffusion models composed as densities and sampled by MCMC",
            (
                Experiment("main", "gin/composition/main.gin", "the 2D table with one seed", "8"),
                Experiment("tiny", "gin/composition/tiny.gin", "every kind of step at toy size; no claims", "3"),
                Experiment(
                    "small",
                    "gin/composition/small.gin",
                    "the table, scenes, captions, guided digits, three seeds",
                    "60",
                ),
                Experiment("paper", "gin/composition/paper.gin", "the notebook's 2D sizes", "a day"),
            ),
        ),
        System(
            "evolution",
            "arXiv:2304.12180",
            "unbiased online gradients by evolution strategies for any unrolled problem",
            (
                Experiment(
                    "main", "gin/evolution/main.gin", "all estimators on Lorenz, variances, two tasks of control", "3"
                ),
                Experiment("tiny", "gin/evolution/tiny.gin", "the whole path at toy size; no claims", "1"),
                Experiment(
                    "small",
                    "gin/evolution/small.gin",
                    "the paper's comparisons over five seeds, with an optimizer that is trained",
                    "10",
                ),
                Experiment("paper", "gin/evolution/paper.gin", "the paper's swimmer and optimizer", "a cluster"),
            ),
        ),
        System(
            "star",
            "arXiv:2209.11208",
            "the stable learned optimizer, its noisy-quadratic theory and meta-training, on a suite of small tasks",
            (
                Experiment("main", "gin/star/main.gin", "theory, and STAR beside tuned optimizers on six tasks", "10"),
                Experiment("tiny", "gin/star/tiny.gin", "the whole path at toy size; no claims", "1"),
                Experiment("small", "gin/star/small.gin", "the weights that ship on twelve tasks, five seeds", "15"),
                Experiment("weights", "gin/star/weights.gin", "the weights that ship, made again", "15"),
                Experiment("paper", "gin/star/paper.gin", "meta-training at the paper's scale", "a cluster"),
            ),
        ),
        System(
            "velo",
            "arXiv:2211.09760",
            "the versatile learned optimizer: released weights or a reduced one meta-trained here, on the same suite",
            (
                Experiment("main", "gin/velo/main.gin", "a reduced VeLO beside tuned optimizers on six tasks", "10"),
                Experiment("tiny", "gin/velo/tiny.gin", "the whole path at toy size; no claims", "1"),
                Experiment("small", "gin/velo/small.gin", "twelve tasks, five seeds, longer meta-training", "60"),
                Experiment("paper", "gin/velo/paper.gin", "the released VeLO's size and phases", "a cluster"),
            ),
        ),
        System(
            "adversarial_arithmetic",
            "arXiv:2311.07587",
            "the sentence that makes a model say 2 + 2 = 5, and hardening against it (PIRS-style: a reconstruction)",
            (
                Experiment(
                    "main",
                    "gin/adversarial_arithmetic/main.gin",
                    "a target trained on the spot, attacked, compared with random strings, hardened",
                    "12",
                ),
                Experiment(
                    "small",
                    "gin/adversarial_arithmetic/small.gin",
                    "two sizes, two writers, transfer, three hardenings",
                    "20",
                ),
                Experiment(
                    "audit",
                    "gin/adversarial_arithmetic/audit.gin",
                    "a served model: --endpoint URL --model NAME; attacks, costs, dialogues",
                    "the server's",
                ),
                Experiment("tiny", "gin/adversarial_arithmetic/tiny.gin", "the whole path at toy size; no claims", "1"),
            ),
        ),
    ]
}


def find(name: str) -> System:
    """The system of a name; UserError with the nearest names where there is none."""
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS, "(shammie list shows them)")
    return SYSTEMS[name]
