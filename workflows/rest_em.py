"""The `rest_em` system: sample, verify, filter, fine-tune from base, repeat (arXiv:2312.06585), as a DAG.

    problems ── codec ── base ─┬─ sample ─ grade ─ select ─ tune ─┬─ sample ─ grade ─ select ─ tune ─ …
       │                       │                    (from base)   │
       └───────────────────────┴─ evaluate ───────────────────────┴─ evaluate ── … ── report

Each model size, seed and variant of the loop has its own chain; what two chains have in common runs once. The functions
that the steps run are in `rest_em_steps`, the settings in `rest_em_settings`, the page in `rest_em_report`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from beam_jobs.rest_em.verifiers import NORMAL_FORM, NUMBER, PYTHON, STDIN
from models.lm import LMConfig
from models.lm.decoding import Sampling
from models.lm.flops import training_flops_per_token
from shammie.configs import plain
from shammie.errors import UserError
from shammie.progress import duration
from workflows import rest_em_data, rest_em_report, rest_em_steps
from workflows.cost_model import Cost, Rates
from workflows.dag import Source, Step, source_of_files
from workflows.rest_em_settings import PASS_AT_K_SAMPLING, Settings, Size, Tuning, Variant
from workflows.step_costs import lm_samples, lm_training

__all__ = ["Settings", "Size", "Tuning", "Variant", "steps"]

# a new version of a verifier judges anew
VERIFIERS = {"verifiers": [NUMBER, NORMAL_FORM, PYTHON, STDIN]}
JUDGES = ("beam_jobs.rest_em", "beam_jobs.sandbox", "models.rest_em")
TRAINS = ("workflows.train", "models.training", "models.lm", "seqio_tasks.pair_rows", *JUDGES)
SAMPLES = ("beam_jobs.rest_em", "beam_jobs.inference", "models.lm")
# what steps lasted on 2 CPU cores, for the estimates of `shammie plan`
TRAINING_FLOPS_PER_S, SAMPLED_TOKENS_PER_S = 2e10, 8000


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: files are named by split, in `Settings.data`.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(
            f"rest_em reads no plain --input (got {input[0]})",
            "name files by split: --gin.DATA=\"{'train': 'gsm8k:FILE', 'test': 'gsm8k:FILE'}\"",
        )
    return [_Chains(settings or Settings(), tuple(beam_flags)).report()]


class _Chains:
    """The steps of all chains, and what the report is told of them."""

    def __init__(self, settings: Settings, beam_flags: tuple[str, ...]) -> None:
        self.settings, self.beam_flags = settings, beam_flags
        self.problems = self._problems()
        word = settings.codec if settings.codec in rest_em_data.CODEC_WORDS else ""
        self.codec = Step(
            "codec",
            rest_em_data.make_codec,
            config={"vocab_size": settings.vocab_size, "word": word},
            inputs={"problems": self.problems, **_file("codec_file", "" if word else settings.codec)},
            code=("models.equal_info.sentencepieces",),
        )
        self.told: list[dict[str, Any]] = []
        self.inputs: dict[str, Step] = {}
        self.last_selections: dict[int, Step] = {}  # by seed, of the largest model's first variant

    def report(self) -> Step:
        """All chains and the report over them, the largest model first, for it may teach the others."""
        for size in reversed(self.settings.sizes):
            for seed in self.settings.seeds:
                base = self._base(size, seed)
                self._tell(
                    size, seed, None, 0, {"model": base, "evaluate": self._evaluate(size, base, seed, whole=True)}
                )
                for variant in self.settings.variants:
                    self._chain(size, seed, variant, base)
        names = {
            "variants": [plain(variant) for variant in self.settings.variants],
            "sizes": [plain(size) for size in self.settings.sizes],
            "seeds": list(self.settings.seeds),
        }
        return Step(
            "report",
            rest_em_report.write,
            config={**names, "chains": self.told},
            inputs={"problems": self.problems, **self.inputs},
            code=("workflows.report", "workflows.rest_em_measures", "models.rest_em"),
        )

    def _problems(self) -> Step:
        s = self.settings
        if not s.data:
            names = ("base_problems", "other_problems", "train_problems", "validation_problems", "test_problems")
            config = {
                "families": list(s.families),
                "levels": list(s.levels),
                **{name: getattr(s, name) for name in names},
            }
            prompt = _file("prompt", s.prompt_file)
            code = ("models.rest_em",)
            return Step("problems", rest_em_data.write_embedded, config=config, inputs=prompt, code=code)
        files = rest_em_data.files_of(s.data)
        return Step(
            "problems",
            lambda running: rest_em_data.write_released(running, s.data),
            config={
                "formats": {split: form for split, (form, _) in files.items()},
                "most": s.test_problems,
                "base_given": bool(s.base),
            },
            inputs={
                **{f"data_{split}": source_of_files(split, paths) for split, (_, paths) in files.items()},
                **_file("prompt", s.prompt_file),
            },
            code=("beam_jobs.rest_em.datasets",),
        )

    def _base(self, size: Size, seed: int) -> Step:
        s = self.settings
        common: dict[str, Any] = {"problems": self.problems, "codec": self.codec}
        if s.base:
            return Step("base", rest_em_steps.take_base, inputs={**common, **_file("base_file", s.base)})
        return Step(
            "base",
            rest_em_steps.train_base,
            config={**self._tuned(size, s.base_tuning), "seed": seed},
            inputs=common,
            lasts=_training_lasts(size, s.base_tuning),
            code=TRAINS,
            cost=lambda rates: self._training_cost(rates, size, s.base_tuning),
        )

    def _tuned(self, size: Size, tuning: Tuning) -> dict[str, Any]:
        model = replace(size.model, vocab_size=LMConfig.vocab_size)  # the codec says
        told = {"model": plain(model), "tuning": plain(tuning), "new_tokens": self.settings.new_tokens}
        return told | VERIFIERS

    def _chain(self, size: Size, seed: int, variant: Variant, base: Step) -> None:
        largest = size is self.settings.sizes[-1]
        if variant.source == "teacher" and largest:
            return  # nobody is larger
        model = base
        for iteration in range(1, variant.iterations + 1):
            made = self._selection(size, variant, seed, iteration, model)
            tuned = Step(
                "tune",
                rest_em_steps.tune,
                config={**self._tuned(size, self.settings.tuning), "seed": seed},
                inputs={
                    "problems": self.problems,
                    "codec": self.codec,
                    "start": base if variant.start == "base" else model,
                    "select": made["select"],
                },
                lasts=_training_lasts(size, self.settings.tuning),
                code=TRAINS,
                cost=lambda rates: self._training_cost(rates, size, self.settings.tuning),
            )
            model = tuned
            last = iteration == variant.iterations
            if last or self.settings.eval_iterations:
                made["evaluate"] = self._evaluate(size, tuned, seed, whole=last)
            self._tell(size, seed, variant, iteration, {**made, "model": tuned})
            if largest and variant is self.settings.variants[0]:
                self.last_selections[seed] = made["select"]

    def _selection(self, size: Size, variant: Variant, seed: int, iteration: int, model: Step) -> dict[str, Step]:
        """The steps that decide what an M-step trains on."""
        longest = {"max_tokens": self.settings.tuning.length}
        config = {"cap": variant.cap, "seed": seed, "distinct": variant.distinct, "with_human": variant.with_human}
        given = {"problems": self.problems, "codec": self.codec}
        if variant.source == "teacher":
            if seed not in self.last_selections:
                raise UserError(f"Variant {variant.name} has no teacher", "put a variant over own samples before it")
            return {"select": self.last_selections[seed]}
        if variant.source == "human":
            return {"select": Step("select", rest_em_steps.select_human, config=longest, inputs=given)}
        sample, grade = self._sampled(size, variant, seed, iteration, {"model": model})
        inputs = {**given, "grade": grade}
        if variant.hint:
            hinted = {"model": model, "failed": grade}
            inputs["grade_hinted"] = self._sampled(size, variant, seed, iteration, hinted, hint=variant.hint)[1]
        config |= longest
        select = Step("select", rest_em_steps.select, config=config, inputs=inputs, code=("models.rest_em",))
        return {"sample": sample, "grade": grade, "select": select}

    def _sampled(
        self, size: Size, variant: Variant, seed: int, iteration: int, inputs: dict[str, Step], **more: Any
    ) -> tuple[Step, Step]:
        flags = self.beam_flags
        config = {
            "samples": variant.all_samples,
            "sampling": plain(variant.sampling),
            "new_tokens": self.settings.new_tokens,
            "seed": seed,
            "iteration": iteration,
            **more,
        }
        tokens = self._tokens(self.settings.train_problems, variant.all_samples)
        sample = Step(
            "sample",
            lambda running: rest_em_steps.sample(running, flags),
            config=config,
            inputs={"problems": self.problems, "codec": self.codec, **inputs},
            lasts=duration(tokens / SAMPLED_TOKENS_PER_S),
            code=SAMPLES,
            cost=lambda rates: self._sampling_cost(rates, size, tokens),
        )
        grade = Step(
            "grade",
            lambda running: rest_em_steps.grade(running, flags),
            config=VERIFIERS,
            inputs={"problems": self.problems, "sample": sample},
            code=JUDGES,
        )
        return sample, grade

    def _evaluate(self, size: Size, model: Step, seed: int, *, whole: bool) -> Step:
        flags, s = self.beam_flags, self.settings
        drawn: Sampling = PASS_AT_K_SAMPLING
        tokens = self._tokens(3 * s.test_problems, 1 + whole * s.eval_samples)
        return Step(
            "evaluate",
            lambda running: rest_em_steps.evaluate(running, flags),
            config={
                "new_tokens": s.new_tokens,
                "samples": s.eval_samples if whole else 0,
                "sampling": plain(drawn),
                "seed": seed,
                **VERIFIERS,
            },
            inputs={"problems": self.problems, "codec": self.codec, "model": model},
            lasts=duration(tokens / SAMPLED_TOKENS_PER_S),
            code=(*SAMPLES, *JUDGES),
            cost=lambda rates: self._sampling_cost(rates, size, tokens),
        )

    def _training_cost(self, rates: Rates, size: Size, tuning: Tuning) -> Cost:
        """All steps that a training may take; it ends before, where the held-out reward no longer rises."""
        model = replace(size.model, vocab_size=self.settings.vocab_size)
        tokens = tuning.steps * tuning.batch_size * tuning.length
        return lm_training(rates, model, tuning.optimizer, tokens=tokens, length=tuning.length)

    def _sampling_cost(self, rates: Rates, size: Size, tokens: float) -> Cost:
        model = replace(size.model, vocab_size=self.settings.vocab_size)
        return lm_samples(rates, model, tokens=tokens, length=self.settings.new_tokens)

    def _tokens(self, problems: int, samples: int) -> float:
        """About how many tokens so many samples have: half of what they may."""
        return len(self.settings.families) * problems * samples * self.settings.new_tokens / 2

    def _tell(self, size: Size, seed: int, variant: Variant | None, iteration: int, made: dict[str, Step]) -> None:
        """Notes a place in a chain, and its steps by the words that the report asks for them with."""
        words = {}
        for what, step in made.items():
            words[what] = f"{what}_{step.identity[:12]}"
            self.inputs[words[what]] = step
        place = {"size": size.name, "seed": seed, "variant": variant.name if variant else "", "iteration": iteration}
        self.told.append({**place, "steps": words})


def _training_lasts(size: Size, tuning: Tuning) -> str:
    """An estimate of a training's time, in words."""
    tokens = tuning.steps * tuning.batch_size * tuning.length
    return duration(tokens * training_flops_per_token(size.model, tuning.length) / TRAINING_FLOPS_PER_S)


def _file(name: str, path: str) -> dict[str, Source]:
    """A file of the user's as a step's source, where one is named."""
    return {name: source_of_files(name, [path])} if path else {}
