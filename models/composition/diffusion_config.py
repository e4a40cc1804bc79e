"""Which diffusion model: its points, its noise, what it gives for an energy, its network and its conditions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.composition.schedule import NoiseSchedule
from shammie.configs import from_plain
from shammie.errors import UserError, unknown

FORMS = ("score", "dae", "dae_half", "l2", "inner", "classifier")
ENERGY_FORMS = ("dae", "dae_half", "l2", "inner")
NETWORKS = ("mlp", "unet")
CONDITIONS = ("none", "classes", "vector", "place", "words")


@dataclass(frozen=True)
class ConditionConfig:
    """What a model may be told about a point.

    Attributes:
        kind: "none"; "classes": a class, int32 []; "vector": numbers such as a position, float32 [size], about -1 to 1;
            "place": where something lies in an image, float32 [2], x to the right and y down, from 0 to 1; a U-Net sees
            it as a map; "words": a caption, int32 [length], ids from 1 and 0 for padding, the order of which counts.
        size: classes; numbers of a vector; ids of the vocabulary, 0 among them.
        length: the most words of a caption.
        width: of what is made of it for the network.
    """

    kind: Literal["none", "classes", "vector", "place", "words"] = "none"
    size: int = 0
    length: int = 0
    width: int = 32

    def __post_init__(self) -> None:
        if self.kind not in CONDITIONS:
            raise unknown("kind of condition", self.kind, CONDITIONS)
        need = {"none": (), "classes": ("size", "width"), "vector": ("size", "width"), "place": ("width",)}
        for name in need.get(self.kind, ("size", "length", "width")):
            _check_whole(f"ConditionConfig.{name} of {self.kind!r}", getattr(self, name))


@dataclass(frozen=True)
class DiffusionConfig:
    """A diffusion model, or the noise-aware classifier that guides one.

    f is the network's output, of a point's shape; eps the predicted noise; E the energy, with eps its gradient in x.

    Attributes:
        shape: of a point: (axes,) for "mlp", (height, width, channels) for "unet".
        form: "score": eps = f, without an energy; "dae": E = ||x - f||^2; "dae_half": half of that; "l2": ||f||^2 / 2;
            "inner": <x, f>. (arXiv:2302.11552 section 4; the notebook's "dae" has no half.) "classifier": f are the
            logits of the condition's classes, and there is no eps.
        network: "mlp": residual blocks on vectors; "unet": on images.
        condition: what it may be told.
        schedule: the noise.
        width: of the MLP's residual stream.
        blocks: of the MLP; of the U-Net those of each resolution.
        widen: how many times wider the MLP's blocks are within.
        level_width: of the embedding of levels: learned in the MLP, sines in the U-Net.
        widths: channels of the U-Net at each resolution, each of which is half the one before.
        attention: which of these resolutions have self-attention, by place from 0 (full resolution) on.
        heads: of attention; they divide those widths.
        groups: of group norms; they divide all widths.
        patch: pixels of a side that the U-Net takes as one position of its full resolution: 2 makes it about four
            times as fast.
        weighting: power of the noise's variance 1 - abar that a level's error counts with in training. 0: all levels
            alike (Ho et al. 2020); 1 (Choi et al. 2022 with k = 1) takes weight off faint noise, where most of the
            error is and where what a point is of has long been settled.
    """

    shape: tuple[int, ...] = (2,)
    form: Literal["score", "dae", "dae_half", "l2", "inner", "classifier"] = "dae"
    network: Literal["mlp", "unet"] = "mlp"
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    width: int = 128
    blocks: int = 4
    widen: int = 2
    level_width: int = 32
    widths: tuple[int, ...] = (32, 64)
    attention: tuple[int, ...] = ()
    heads: int = 4
    groups: int = 8
    patch: int = 1
    weighting: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shape", "widths", "attention"):  # gin and JSON give lists, which have no hash
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, known in (("form", FORMS), ("network", NETWORKS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        for name in ("width", "blocks", "widen", "level_width", "heads", "groups", "patch"):
            _check_whole(f"DiffusionConfig.{name}", getattr(self, name))
        for size in (*self.shape, *self.widths):
            _check_whole("a size in DiffusionConfig.shape or widths", size)
        if self.condition.kind == "place" and self.network != "unet":
            raise UserError("an MLP has no places that a condition could name", "make the condition's kind 'vector'")
        if self.form == "classifier" and self.condition.kind != "classes":
            raise UserError(
                f"a classifier's condition is {self.condition.kind!r}", "give it 'classes': it tells these apart"
            )
        if not 0 <= self.weighting < math.inf or (self.weighting and self.form == "classifier"):
            raise UserError(
                f"DiffusionConfig.weighting is {self.weighting!r}", "give 0 or more, and 0 for a classifier"
            )
        self._check_mlp() if self.network == "mlp" else self._check_unet()

    def _check_mlp(self) -> None:
        if len(self.shape) != 1:
            raise UserError(f"an MLP's points have shape {self.shape}", "give one axis, or set network to 'unet'")

    def _check_unet(self) -> None:
        if len(self.shape) != 3 or not self.widths:
            raise UserError(
                f"a U-Net has points of shape {self.shape} and widths {self.widths}",
                "give height, width and channels, and one width for each resolution",
            )
        halvings = self.patch * 2 ** (len(self.widths) - 1)
        if self.shape[0] % halvings or self.shape[1] % halvings:
            raise UserError(
                f"images of {self.shape[0]} x {self.shape[1]} in patches of {self.patch} cannot be halved"
                f" {len(self.widths) - 1} times",
                f"make both a multiple of {halvings}, or give fewer widths",
            )
        for place in self.attention:
            if not 0 <= place < len(self.widths):
                raise UserError(f"attention names resolution {place}", f"give 0 to {len(self.widths) - 1}")
            if self.widths[place] % self.heads:
                raise UserError(f"{self.heads} heads do not divide width {self.widths[place]}", "change heads")
        for width in self.widths:
            if width % self.groups:
                raise UserError(f"{self.groups} groups do not divide width {width}", "change groups or widths")

    @property
    def has_energy(self) -> bool:
        """Whether there is an energy."""
        return self.form in ENERGY_FORMS

    @property
    def mlp_width(self) -> int:
        """What the devices that share out its matrices must divide: the greatest divisor of all their sizes."""
        condition = () if self.condition.kind == "none" else (self.condition.width,)
        if self.network == "mlp":
            return math.gcd(self.widen * self.width, *condition)
        return math.gcd(4 * self.level_width, *self.widths, *condition)

    @property
    def numbers(self) -> int:
        """Of a point: the product of its shape."""
        return math.prod(self.shape)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DiffusionConfig":
        """The config of plain JSON values, as `shammie.configs.plain` gives them.

        Raises:
            UserError: a name that no config has, or a value that it refuses.
        """
        inner = {
            "condition": from_plain(ConditionConfig, values.get("condition", {}), "setting of a condition"),
            "schedule": from_plain(NoiseSchedule, values.get("schedule", {}), "setting of a noise schedule"),
        }
        return from_plain(cls, {**values, **inner}, "setting of a diffusion model")


def _check_whole(what: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{what} is {value!r}", "give a whole number of 1 or more")
