"""What gin files choose of `adversarial_arithmetic`: targets, the search, what it is compared with, and hardenings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from beam_jobs.adversarial_arithmetic.search import WRITERS
from beam_jobs.inference.endpoint import EndpointConfig
from models.adversarial_arithmetic.pirs import PirsConfig
from shammie.errors import UserError, unknown
from workflows.policy_settings import PolicyTraining
from workflows.rest_em_settings import Size, Tuning

HARDENINGS = ("tuning", "policy", "revision")


@dataclass(frozen=True)
class Hardening:
    """One way to make a model harder to mislead.

    Attributes:
        name: one word.
        kind: "tuning": right answers to attacked prompts as pairs (shares `rest_em`'s M-step); "policy": PPO with the
            verifiable reward and a KL penalty to the start; "revision": the model answers again under a rule.
        tuning: of the first kind.
        policy: of the second; the families of its `shares` are attacked, clean and context.
        revisions: of the third.
        attacks: the most attacks of a question that the first two train on.
        mixed: pairs of the corpus for each attacked one, so that context is still read.
    """

    name: str
    kind: Literal["tuning", "policy", "revision"]
    tuning: Tuning = field(default_factory=Tuning)
    policy: PolicyTraining = field(default_factory=PolicyTraining)
    revisions: int = 1
    attacks: int = 20
    mixed: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in HARDENINGS:
            raise unknown("kind of hardening", self.kind, HARDENINGS)
        for name, least in (("revisions", 1), ("attacks", 1), ("mixed", 0)):
            if not getattr(self, name) >= least:
                raise UserError(f"Hardening.{name} is {getattr(self, name)!r}", f"give {least} or more")


@dataclass(frozen=True)
class Settings:
    """A run: an audit of an endpoint, or a study of models that are trained on the spot.

    Attributes:
        endpoint: the model that is audited; None trains the targets here.
        writer_endpoint: the model that the writer "instructed" is; None: the audited model attacks itself.
        sizes: the targets, the smallest first; the last one is hardened.
        target: file of a model of yours (`models.lm.artefact`, which `python -m workflows.train.export` makes of a
            checkpoint of the bundled trainer or of T5X) to attack and harden instead of training one here.
        codec: the file of its codec.
        corpus: pairs of text that they are trained on.
        vocab_size: of the SentencePiece model.
        target_tuning: the targets' training.
        writer: the size of the language model that writes attacks.
        writer_tuning: its training, on inverted pairs of the same corpus.
        writers: who writes candidates (`beam_jobs.adversarial_arithmetic.search.WRITERS`), a search each; the attacks
            of the first are those that are hardened against.
        digits: of the operands; there are questions of each of these sizes.
        questions: of each of these, at most.
        pirs: the search.
        attempts: the most random texts for each question; 0: as many as the search wrote for it, which is what makes
            the two comparable.
        copies: of a false equation, for the context-overload curve.
        copied: questions on which it is measured.
        others: texts of the other generator for each question, which no hardening sees.
        hardenings: of the last size.
        new_tokens: the most of a reply.
        confirmed: samples with which an audit asks the surest attack of each question anew.
        max_bad_share: share of requests that may stay without an answer.
        seed: of everything.
    """

    endpoint: EndpointConfig | None = None
    writer_endpoint: EndpointConfig | None = None
    sizes: Sequence[Size] = ()
    target: str = ""
    codec: str = ""
    corpus: int = 160_000
    vocab_size: int = 512
    target_tuning: Tuning = field(default_factory=Tuning)
    writer: Size | None = None
    writer_tuning: Tuning = field(default_factory=Tuning)
    writers: Sequence[str] = ("grammar",)
    digits: Sequence[int] = (1,)
    questions: int = 100
    pirs: PirsConfig = field(default_factory=PirsConfig)
    attempts: int = 16
    copies: Sequence[int] = (1, 4, 16)
    copied: int = 20
    others: int = 4
    hardenings: Sequence[Hardening] = ()
    new_tokens: int = 8
    confirmed: int = 8
    max_bad_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("writers", "digits"):
            if not getattr(self, name):
                raise UserError(f"adversarial_arithmetic.Settings.{name} is empty", "give at least one")
        if self.attempts < 0:
            raise UserError(f"Settings.attempts is {self.attempts!r}", "give 0 for as many as the search writes")
        for name in ("corpus", "vocab_size", "questions", "copied", "new_tokens", "confirmed"):
            if not getattr(self, name) > 0:
                raise UserError(f"Settings.{name} is {getattr(self, name)!r}", "give a number above 0")
        for writer in self.writers:
            if writer not in WRITERS:
                raise unknown("writer", writer, WRITERS)
        names = [one.name for one in self.hardenings]
        if len(set(names)) < len(names):
            raise UserError(f"Settings.hardenings names one twice: {', '.join(names)}", "name each once")
        if self.writer_endpoint is not None and "instructed" not in self.writers:
            raise UserError("nothing is written by the writer's endpoint", "add 'instructed' to the writers")
        if self.endpoint is None:
            if not self.sizes and not self.target:
                raise UserError(
                    "there is nothing to attack", "give sizes of models, a target, or --endpoint URL --model NAME"
                )
            if bool(self.target) != bool(self.codec):
                raise UserError(f"target is {self.target!r} and codec {self.codec!r}", "give both files, or none")
            if self.target and self.sizes:
                raise UserError("a target is given, and sizes to train as well", "leave one out: --gin.SIZES=()")
            if "inverted" in self.writers and self.writer is None:
                raise UserError("the writer 'inverted' is a model that is trained here", "give Settings.writer")
            if "instructed" in self.writers:
                raise UserError("models that are trained here do not follow instructions", "let 'inverted' write")
        else:
            if self.sizes or self.hardenings or self.target:
                raise UserError("an endpoint is audited, nothing is trained", "give no sizes, target or hardenings")
            if "inverted" in self.writers:
                raise UserError("no writer is trained for an endpoint", "let 'grammar' or 'instructed' write")
