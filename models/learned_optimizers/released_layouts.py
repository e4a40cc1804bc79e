"""How the released weights of each optimizer are laid out, named and configured, beside ours.

The arrays and parameters are those of google/learned_optimization's classes HyperV2 (VeLO), MLPNomLOpt (STAR),
AdafacMLPLOpt and MLPLOpt.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from models.learned_optimizers.interface import LearnedOptimizer, Theta
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.star import AdafactorMLPConfig, StarConfig, adafactor_mlp, star
from models.learned_optimizers.velo import VeloConfig, feature_widths, velo


class Kind(NamedTuple):
    """One optimizer in both worlds.

    Attributes:
        name: ours.
        reference: the reference's class.
        make: config -> the optimizer.
        sizes: released params -> a config of these sizes.
        to_ours: (released params, config) -> theta.
        to_theirs: (theta, config) -> released params.
        shaped: fields that the arrays' shapes say.
        fields: the reference's parameter -> our field and how its value is converted.
        fixed: parameters that must have these values.
        ignored: parameters that change nothing.
        unsaid: fields whose value in a config.gin that does not name them differs from our default.
    """

    name: str
    reference: str
    make: Callable[[Any], LearnedOptimizer]
    sizes: Callable[[Any], Any]
    to_ours: Callable[[Any, Any], Theta]
    to_theirs: Callable[[Theta, Any], Any]
    shaped: tuple[str, ...]
    fields: dict[str, tuple[str, Callable[[Any], Any]]]
    fixed: dict[str, Any]
    ignored: tuple[str, ...] = ()
    unsaid: Mapping[str, Any] = {}


def kind_of(params: Any) -> Kind | None:
    """Which optimizer's arrays these are; None for no known one's."""
    if "ff_mod_stack" in params:
        return KINDS["velo"]
    if "nn" in params:
        outputs = len(params["nn"]["~"][f"b{_layers(params['nn']['~']) - 1}"])
        return KINDS["star" if outputs == 4 else "adafactor_mlp"]
    return KINDS["mlp"] if any(name.startswith("mlp/") for name in params) else None


def _layers(network: Mapping[str, Any]) -> int:
    return sum(name.startswith("b") for name in network)


def _tuple(value: Any) -> tuple[float, ...]:
    return tuple(float(x) for x in value)


def _one(value: Any) -> float:
    (only,) = _tuple(value)
    return only


def _velo_sizes(params: Any) -> VeloConfig:
    bank = params["ff_mod_stack"]["~"]
    shape = np.shape(bank["b0"])
    width = np.shape(_lstm_state(params)["hidden"])[-1]
    return VeloConfig(lstm_size=width, bank_size=shape[0], hidden_size=shape[1], hidden_layers=_layers(bank) - 1)


def _lstm_state(params: Any) -> Any:
    state = params["lstm_init_state"]
    if "values" in state:  # Flax of before 2022 wrote named tuples so
        state = {state["fields"][i]: state["values"][i] for i in state["values"]}
    return state


_LINEARS = {
    "unused": "linear",
    "pooled": "linear_1",
    "own": "linear_2",
    "lstm": "rnn/linear",
    "mixture": "rnn_to_controls",
    "step_size": "step_size",
}


def _velo_to_ours(params: Any, config: VeloConfig) -> Theta:
    bank = dict(params["ff_mod_stack"]["~"])
    blocks = [np.asarray(bank.pop(f"w0__{i}")) for i in range(len(feature_widths(config)))]
    state = _lstm_state(params)
    return {
        "bank": {**bank, "w0": np.concatenate(blocks, axis=1)},
        "initial_state": {name: np.asarray(state[name]).reshape(-1) for name in ("hidden", "cell")},
        "network": {name: dict(params["rnn_params"][theirs]) for name, theirs in _LINEARS.items()},
    }


def _velo_to_theirs(theta: Theta, config: VeloConfig) -> Any:
    bank = dict(theta["bank"])
    ends = np.cumsum(feature_widths(config))[:-1]
    blocks = {f"w0__{i}": block for i, block in enumerate(np.split(bank.pop("w0"), ends, axis=1))}
    return {
        "ff_mod_stack": {"~": {**bank, **{name: np.ascontiguousarray(block) for name, block in blocks.items()}}},
        "lstm_init_state": {name: theta["initial_state"][name][None] for name in ("hidden", "cell")},
        "rnn_params": {theirs: dict(theta["network"][name]) for name, theirs in _LINEARS.items()},
    }


_DECAYS = {"momentum_decays": "momentum_decays", "rms_decays": "rms_decays", "factored_decays": "adafactor_decays"}


def _nn_to_ours(params: Any, config: Any) -> Theta:
    del config
    return {"network": dict(params["nn"]["~"]), **{name: params[theirs] for name, theirs in _DECAYS.items()}}


def _nn_to_theirs(theta: Theta, config: Any) -> Any:
    del config
    return {"nn": {"~": dict(theta["network"])}, **{theirs: theta[name] for name, theirs in _DECAYS.items()}}


def _nn_sizes(config: Any) -> Callable[[Any], Any]:
    def sizes(params: Any) -> Any:
        network = params["nn"]["~"]
        return replace(config, hidden_size=len(network["b0"]), hidden_layers=_layers(network) - 1)

    return sizes


def _mlp_sizes(params: Any) -> MLPConfig:
    return MLPConfig(hidden_size=len(params["mlp/~/linear_0"]["b"]), hidden_layers=len(params) - 1)


def _mlp_to_ours(params: Any, config: MLPConfig) -> Theta:
    layers = range(config.hidden_layers + 1)
    return {f"{x}{i}": params[f"mlp/~/linear_{i}"][x] for i in layers for x in ("w", "b")}


def _mlp_to_theirs(theta: Theta, config: MLPConfig) -> Any:
    layers = range(config.hidden_layers + 1)
    return {f"mlp/~/linear_{i}": {x: theta[f"{x}{i}"] for x in ("w", "b")} for i in layers}


_DECAY_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "initial_momentum_decays": ("momentum_decays", _tuple),
    "initial_rms_decays": ("rms_decay", _one),
    "initial_adafactor_decays": ("factored_decays", _tuple),
}
_MLP_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hidden_size": ("hidden_size", int),
    "hidden_layers": ("hidden_layers", int),
    "step_mult": ("step_mult", float),
    "exp_mult": ("exp_mult", float),
}
# what STAR's class has switched off by default
STAR_AS_CLASS = StarConfig(
    nominal_stepsize=0.0, nominal_controller=False, regularization_controller=False, precondition=False
)
_STAR_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **_MLP_FIELDS,
    **_DECAY_FIELDS,
    "exp_mult": ("exp_mult", lambda three: _one(set(three) if isinstance(three, tuple) else {three})),
    "nominal_stepsize": ("nominal_stepsize", float),
    "nominal_grad_estimator": ("nominal", str),
    "nominal_controller": ("nominal_controller", bool),
    "weight_decay": ("weight_decay", float),
    "regularization_controller": ("regularization_controller", bool),
    "normalize_blackbox": ("precondition", bool),
    "selfnormalize_blackbox": ("scale_by_mean_gradient", bool),
    "aggregate_magnitude": ("aggregate_magnitude", bool),
    "aggregate_nom_magnitude": ("aggregate_nominal", bool),
    "aggregate_reg_magnitude": ("aggregate_regularization", bool),
}
_VELO_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **_DECAY_FIELDS,
    "lstm_hidden_size": ("lstm_size", int),
    "param_inits": ("bank_size", int),
    "ff_hidden_size": ("hidden_size", int),
    "ff_hidden_layers": ("hidden_layers", int),
    "step_mult": ("step_mult", float),
    "exp_mult": ("exp_mult", float),
    "use_bugged_loss_features": ("bugged_loss_features", bool),
    "use_bugged_next_lstm_state": ("bugged_lstm_state", bool),
}
_VELO_WITH = (
    "g", "m", "m_feat", "rms", "rms_feat", "rms_norm_g", "rsqrt_rms", "p", "fac_norm_g", "fac_rms", "fac_rsqrt",
    "grad_clip_feat", "fac_mom_mult", "rms_only_norm_g",
)  # fmt: skip
_VELO_FIXED = {
    **{f"with_{name}": True for name in _VELO_WITH},
    "mix_layers": True, "adafactor_accumulator": True, "param_scale_mult": True, "precondition_output": False,
    "rnn_state_decay": 0.0, "with_validation_feature_dim": False, "constant_loss": False,
    "clip_param_scale_amount": None,
}  # fmt: skip
_WAYS = ("concat_weights", "make_separate_weights", "split_weights")  # of computing the same
_SHAPED = ("hidden_size", "hidden_layers")
KINDS = {
    "velo": Kind(
        "velo", "HyperV2", velo, _velo_sizes, _velo_to_ours, _velo_to_theirs, ("lstm_size", "bank_size", *_SHAPED),
        _VELO_FIELDS, _VELO_FIXED,
        ("reparam_decay", "summarize_each_layer", "summarize_all_control", "validation_mode"),
        {"bugged_loss_features": True},
    ),
    "star": Kind(
        "star", "MLPNomLOpt", star, _nn_sizes(STAR_AS_CLASS), _nn_to_ours, _nn_to_theirs, _SHAPED, _STAR_FIELDS, {},
        _WAYS,
    ),
    "adafactor_mlp": Kind(
        "adafactor_mlp", "AdafacMLPLOpt", adafactor_mlp, _nn_sizes(AdafactorMLPConfig()), _nn_to_ours, _nn_to_theirs,
        _SHAPED, {**_MLP_FIELDS, **_DECAY_FIELDS}, {}, _WAYS,
    ),
    "mlp": Kind(
        "mlp", "MLPLOpt", mlp, _mlp_sizes, _mlp_to_ours, _mlp_to_theirs, _SHAPED, _MLP_FIELDS, {},
        ("compute_summary",),
    ),
}  # fmt: skip
