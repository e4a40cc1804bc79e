"""The `adversarial_arithmetic` system: sentences that make a model miscalculate, and hardening against them, as a DAG.

    questions ─┬──────────────────────┬──────────────────┬───────────────┐
    corpus ─ target, writer ── attack (a search) ── transfer, controls, harden ── measure, attack again ── report

(After "Frontier language models are not robust to adversarial arithmetic", arXiv:2311.07587, whose body was not
available: the search is PIRS-style, a reconstruction.) With an endpoint there is nothing to train: questions, attack,
controls, report. What the steps run is in `adversarial_arithmetic_steps`, the page in `adversarial_arithmetic_report`.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from beam_jobs.inference.endpoint import EndpointConfig
from models.lm import LMConfig
from shammie.configs import plain
from shammie.errors import UserError
from shammie.files import cache_directory, digest
from workflows import adversarial_arithmetic_perplexity, adversarial_arithmetic_report, adversarial_arithmetic_steps
from workflows.adversarial_arithmetic_settings import Hardening, Settings
from workflows.dag import Step, source_of_files
from workflows.rest_em import TRAINS
from workflows.rest_em_settings import Size, Tuning

__all__ = ["Hardening", "Settings", "steps"]

ASKS = ("beam_jobs.adversarial_arithmetic", "beam_jobs.inference", "models.adversarial_arithmetic", "models.lm")
GIVEN = "given"  # the name of a target that the user gives
RULED = ("url", "model", "api", "system_prompt", "stop", "send_top_k", "extra", "most_requests", "most_tokens")


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: questions and corpus are made here.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(f"adversarial_arithmetic reads no --input (got {input[0]})", "leave it out")
    return [_Parts(settings or _default(), tuple(beam_flags)).report()]


def _default() -> Settings:
    return Settings(sizes=(Size("small", LMConfig()),))


def with_cache(endpoint: EndpointConfig) -> EndpointConfig:
    """The endpoint with a request cache for each server and model, in which each way of asking has its own budget."""
    if endpoint.cache:
        return endpoint
    cache = cache_directory() / "answers" / digest({"url": endpoint.url, "model": endpoint.model})[:16]
    way = digest({name: value for name, value in _ruled(endpoint).items() if not name.startswith("most_")})[:16]
    return replace(endpoint, cache=str(cache), budget=str(cache / way))


def _ruled(endpoint: EndpointConfig) -> dict[str, Any]:
    """What of an endpoint decides its answers, and how many there are."""
    asked = asdict(endpoint)
    return {name: asked[name] for name in RULED}


def without_endpoint(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without how a server is reached, which decides no answer."""
    return {name: value for name, value in plain(settings).items() if name not in ("endpoint", "writer_endpoint")}


class _Parts:
    """The steps, and what the report is told of them."""

    def __init__(self, settings: Settings, beam_flags: tuple[str, ...]) -> None:
        self.settings, self.flags = settings, beam_flags
        self.endpoint = with_cache(settings.endpoint) if settings.endpoint else None
        self.writer_endpoint = with_cache(settings.writer_endpoint) if settings.writer_endpoint else None
        s = settings
        self.common: dict[str, Any] = {
            "seed": s.seed,
            "new_tokens": s.new_tokens,
            "temperature": 1.0,
            "pirs": plain(s.pirs),
        }
        asked = {"digits": list(s.digits), "questions": s.questions, "seed": s.seed}
        self.questions = Step(
            "questions",
            adversarial_arithmetic_steps.write_questions,
            config=asked,
            code=("models.adversarial_arithmetic.questions",),
        )
        self.inputs: dict[str, Step] = {}
        self.told: list[dict[str, Any]] = []  # of each input that was asked: part, victim, writer, hardening

    def report(self) -> Step:
        """All parts and the report over them."""
        if self.endpoint:
            self._audit(self.endpoint)
        else:
            self._study()
        return Step(
            "report",
            lambda running: adversarial_arithmetic_report.write(running),
            config={"parts": self.told, "settings": without_endpoint(self.settings)},
            inputs={**self.inputs, "questions": self.questions},
            code=("workflows.report", "models.adversarial_arithmetic"),
        )

    def _audit(self, endpoint: EndpointConfig) -> None:
        told: dict[str, Any] = {"endpoint": _ruled(endpoint)}
        nothing = {"attempts": 0, "copies": [], "copied": 0, "others": 0}
        run = adversarial_arithmetic_steps.controls  # without texts: first, so that a small budget tells of it
        clean = self._step(
            "clean", run, {**self.common, "victim": endpoint.model, **nothing, **told}, {}, endpoint=True
        )
        self._tell({"part": "clean", "victim": endpoint.model}, clean)
        wrote = {"wrote": _ruled(self.writer_endpoint)} if self.writer_endpoint else {}
        attacks = [
            self._attack(endpoint.model, {"clean": clean}, one, told | (wrote if one == "instructed" else {}))
            for one in self.settings.writers
        ]
        self._controls(endpoint.model, {}, attacks[0], self.settings.writers[0], **told)
        for writer, attack in zip(self.settings.writers, attacks, strict=True):
            config = {**self.common, "victim": endpoint.model, "samples": self.settings.confirmed, **told}
            step = self._step(
                "confirm", adversarial_arithmetic_steps.surest_again, config, {"attack": attack}, endpoint=True
            )
            self._tell({"part": "confirm", "victim": endpoint.model, "writer": writer}, step)

    def _study(self) -> None:
        s = self.settings
        longest = max(s.target_tuning.length, s.writer_tuning.length)
        config = {
            "seed": s.seed, "pairs": s.corpus, "digits": max(s.digits), "vocab_size": s.vocab_size, "length": longest,
        }  # fmt: skip
        self.corpus = Step(
            "corpus",
            adversarial_arithmetic_steps.write_corpus,
            config=config,
            inputs={"codec": source_of_files("codec", [s.codec])} if s.codec else {},
            code=("models.adversarial_arithmetic", "seqio_tasks.pairs"),
        )
        self.inputs["corpus"] = self.corpus
        first: dict[str, Step] = {}
        targets = {}
        sizes = s.sizes or (Size(GIVEN, LMConfig()),)
        for size in sizes:
            targets[size.name] = self._target(size)
            self.inputs[f"target_{size.name}"] = targets[size.name]
            given = {"model": targets[size.name], "corpus": self.corpus}
            for writer in s.writers:
                attack = self._attack(size.name, given, writer, {})
                if size.name not in first:
                    first[size.name] = attack
                    controls = self._controls(size.name, given, attack, writer)
                    if "inverted" in s.writers:
                        told = {"corpus": self.corpus, "attack": attack, "controls": controls}
                        self._perplexity(size.name, {**told, "writer": self._writer()})
        if len(sizes) > 1:
            sources = {f"attack_{name}": attack for name, attack in first.items()}
            for size in sizes:
                given = {"model": targets[size.name], "corpus": self.corpus, **sources}
                config = {**self.common, "victim": size.name, "samples": s.pirs.samples}
                self._tell(
                    {"part": "transfer", "victim": size.name},
                    self._step("transfer", adversarial_arithmetic_steps.surest_again, config, given, endpoint=True),
                )
        if s.hardenings:
            self._hardened(sizes[-1], targets[sizes[-1].name], first[sizes[-1].name])

    def _hardened(self, size: Size, target: Step, attack: Step) -> None:
        """The start and each hardening of it: measured alike, and attacked again."""
        s = self.settings
        self._measured(size.name, "", target, attack, {})
        for one in s.hardenings:
            if one.kind == "revision":
                self._measured(size.name, one.name, target, attack, {"revisions": one.revisions})
                continue
            config = {
                "kind": one.kind, "seed": s.seed, "attacks": one.attacks, "mixed": one.mixed,
                "model": plain(replace(size.model, vocab_size=LMConfig.vocab_size)),
                "tuning" if one.kind == "tuning" else "policy": plain(getattr(one, one.kind)),
            }  # fmt: skip
            hardened = Step(
                "harden",
                adversarial_arithmetic_steps.harden,
                config=config,
                inputs={"questions": self.questions, "corpus": self.corpus, "model": target, "attack": attack},
                code=(*TRAINS, "workflows.policy_training", "models.adversarial_arithmetic"),
            )
            self.inputs[f"harden_{one.name}"] = hardened
            self._measured(size.name, one.name, hardened, attack, {})

    def _measured(self, size: str, hardening: str, model: Step, attack: Step, more: dict[str, Any]) -> None:
        s = self.settings
        given = {"model": model, "corpus": self.corpus}
        name = f"{size} {hardening}".strip()
        config = {**self.common, "victim": name, "others": s.others, **more}
        place = {"victim": name, "hardening": hardening}
        step = self._step("measure", adversarial_arithmetic_steps.measure, config, {**given, "attack": attack})
        self._tell({"part": "measure", **place}, step)
        # adaptive: the search anew, on the hardened model itself and the held-out questions
        again = self._attack(name, given, s.writers[0], {"split": "test", **more}, tell=False)
        self._tell({"part": "again", **place, "writer": s.writers[0]}, again)

    def _attack(
        self, victim: str, given: dict[str, Any], writer: str, more: Mapping[str, Any], *, tell: bool = True
    ) -> Step:
        if writer == "inverted":
            given = {**given, "writer": self._writer()}
        config = {**self.common, "victim": victim, "writer": writer, **more}
        run = functools.partial(adversarial_arithmetic_steps.attack, writer_endpoint=self.writer_endpoint)
        step = self._step("attack", run, config, given, endpoint=True)
        if tell:
            self._tell({"part": "attack", "victim": victim, "writer": writer}, step)
        return step

    def _controls(self, victim: str, given: dict[str, Any], attack: Step, writer: str, **more: Any) -> Step:
        s = self.settings
        config = {
            **self.common, "victim": victim, "attempts": s.attempts, "copies": list(s.copies), "copied": s.copied,
            "others": s.others, **more,
        }  # fmt: skip
        given = {**given, "attack": attack}
        step = self._step("controls", adversarial_arithmetic_steps.controls, config, given, endpoint=True)
        self._tell({"part": "controls", "victim": victim, "writer": writer}, step)
        return step

    def _perplexity(self, victim: str, given: dict[str, Any]) -> None:
        self.inputs[f"perplexity_{victim}"] = Step(
            "perplexity",
            adversarial_arithmetic_perplexity.measure,
            inputs={"questions": self.questions, **given},
            code=("models.adversarial_arithmetic", "models.lm"),
        )

    def _step(
        self, name: str, function: Any, config: dict[str, Any], given: dict[str, Any], *, endpoint: bool = False
    ) -> Step:
        flags, bad, server = self.flags, self.settings.max_bad_share, self.endpoint
        run = (
            (lambda running: function(running, server, flags, bad))
            if endpoint
            else (lambda running: function(running, flags, bad))
        )
        inputs = {"questions": self.questions, **given}
        code = (adversarial_arithmetic_steps.__name__, *ASKS)
        return Step(name, run, config=config, inputs=inputs, code=code)

    def _target(self, size: Size) -> Step:
        s = self.settings
        if not s.target:
            return self._trained("target", adversarial_arithmetic_steps.train_target, size, s.target_tuning)
        inputs = {"corpus": self.corpus, "target_file": source_of_files("target", [s.target])}
        return Step("target", adversarial_arithmetic_steps.take_target, inputs=inputs)

    def _trained(self, name: str, run: Any, size: Size, tuning: Tuning) -> Step:
        config = {
            "model": plain(replace(size.model, vocab_size=LMConfig.vocab_size)),
            "tuning": plain(tuning),
            "seed": self.settings.seed,
        }
        return Step(name, run, config=config, inputs={"corpus": self.corpus}, code=TRAINS)

    def _writer(self) -> Step:
        s = self.settings
        assert s.writer is not None
        writer = self._trained("writer", adversarial_arithmetic_steps.train_writer, s.writer, s.writer_tuning)
        self.inputs["writer"] = writer
        return writer

    def _tell(self, place: dict[str, Any], step: Step) -> None:
        word = f"{place['part']}_{step.identity[:12]}"
        self.inputs[word] = step
        self.told.append({**place, "step": word})
