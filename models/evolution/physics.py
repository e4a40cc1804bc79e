"""Locomotion in MuJoCo's JAX version (MJX) with a linear policy: an optional extra, `pip install shammie[physics]`.

Built in is a swimmer of three links with the numbers of Gymnasium's Swimmer-v4; any other model, such as that of
Gymnasium's half_cheetah.xml, is given as MJCF text. The reward of a step is the forward speed of the first joint minus
a cost of controls; observations are all positions but the first few, and all speeds (arXiv:2304.12180, section 5.3).
"""

import functools
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.unrolled import Key, Loss, StepNumber, Unrolled
from shammie.errors import UserError

# three rods of 1 m in a medium that resists, two motors; the first three joints place the swimmer in the plane
SWIMMER = """
<mujoco>
  <compiler angle="degree" coordinate="local"/>
  <option timestep="0.01" integrator="RK4" density="4000" viscosity="0.1"><flag contact="disable"/></option>
  <default><geom type="capsule" size="0.1" density="1000"/><joint armature="0.1"/></default>
  <worldbody>
    <body name="front">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="turn" type="hinge" axis="0 0 1"/>
      <geom fromto="1.5 0 0 0.5 0 0"/>
      <body name="middle" pos="0.5 0 0">
        <joint name="bend_1" type="hinge" axis="0 0 1" limited="true" range="-100 100"/>
        <geom fromto="0 0 0 -1 0 0"/>
        <body name="back" pos="-1 0 0">
          <joint name="bend_2" type="hinge" axis="0 0 1" limited="true" range="-100 100"/>
          <geom fromto="0 0 0 -1 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="bend_1" gear="150" ctrllimited="true" ctrlrange="-1 1"/>
    <motor joint="bend_2" gear="150" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


class PhysicsState(NamedTuple):
    """Generalised positions and speeds; float [nq] and [nv]."""

    positions: jax.Array
    speeds: jax.Array


@dataclass(frozen=True)
class PhysicsConfig:
    """The task; the defaults are the swimmer's.

    Attributes:
        model: MJCF text, whole, so that it travels with a cell's config; "" for the built-in swimmer. Its first joint
            slides forward.
        horizon: T, steps.
        frames: steps of the simulation in one of the policy's.
        hidden_positions: the first positions, which the policy does not see: 2 for the swimmer, 1 for the half-cheetah.
        control_cost: times the controls' squared length: 1e-4 for the swimmer, 0.1 for the half-cheetah.
        spread: episodes begin with positions, and speeds, uniform in +-spread around the model's own.
        init_scale: of the first weights, variance scaling over inputs; 0 for zeros (the half-cheetah's is 0.03).
    """

    model: str = ""
    horizon: int = 1000
    frames: int = 4
    hidden_positions: int = 2
    control_cost: float = 1e-4
    spread: float = 0.1
    init_scale: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("hidden_positions", 0)):
            if getattr(self, name) < least:
                raise UserError(f"PhysicsConfig.{name} is {getattr(self, name)}", f"give at least {least}")


class _Model(NamedTuple):
    mjx: Any
    on_device: Any
    first: PhysicsState
    step_seconds: float
    controls: int


@functools.cache
def _loaded(model: str) -> _Model:
    try:
        mujoco, mjx = import_module("mujoco"), import_module("mujoco.mjx")
    except ModuleNotFoundError as error:
        raise UserError(
            f"problem physics needs {error.name!r}, which is not installed", "pip install 'shammie[physics]'"
        ) from error
    try:
        ours = mujoco.MjModel.from_xml_string(model or SWIMMER)
        on_device = mjx.put_model(ours)
    except (ValueError, NotImplementedError) as error:
        text = str(error).strip().splitlines()[-1]
        raise UserError(f"the model of problem physics: {text}", "give MJCF that MJX can simulate") from error
    first = PhysicsState(jnp.asarray(ours.qpos0, jnp.float32), jnp.zeros(ours.nv))
    return _Model(mjx, on_device, first, float(ours.opt.timestep), int(ours.nu))


def first_policy(config: PhysicsConfig, key: Key) -> dict[str, jax.Array]:
    """The policy that learning starts from: "weights", float [controls, observations].

    Raises:
        UserError: MJX is not installed, or cannot simulate the model.
    """
    model = _loaded(config.model)
    seen = model.first.positions.size - config.hidden_positions + model.first.speeds.size
    if not config.init_scale:
        return {"weights": jnp.zeros((model.controls, seen))}
    scaled = jax.nn.initializers.variance_scaling
    initial = scaled(config.init_scale, "fan_in", "truncated_normal", in_axis=1, out_axis=0)
    return {"weights": initial(key, (model.controls, seen))}


def physics(config: PhysicsConfig = PhysicsConfig()) -> Unrolled:
    """The unrolled problem; a loss is minus the step's reward, in m/s.

    Raises:
        UserError: MJX is not installed, or cannot simulate the model.
    """
    model = _loaded(config.model)

    def init(theta: dict[str, jax.Array], key: Key) -> PhysicsState:
        del theta
        place_key, speed_key = jax.random.split(key)
        spread = config.spread
        placed = jax.random.uniform(place_key, model.first.positions.shape, minval=-spread, maxval=spread)
        moving = jax.random.uniform(speed_key, model.first.speeds.shape, minval=-spread, maxval=spread)
        return PhysicsState(model.first.positions + placed, model.first.speeds + moving)

    def step(
        theta: dict[str, jax.Array], state: PhysicsState, number: StepNumber, key: Key
    ) -> tuple[PhysicsState, Loss]:
        del number, key
        seen = jnp.concatenate([state.positions[config.hidden_positions :], state.speeds])
        controls = jnp.clip(theta["weights"] @ seen, -1, 1)
        # data of the model from the few numbers that decide it: the rest is not kept between steps
        data = model.mjx.make_data(model.on_device)
        data = data.replace(qpos=state.positions, qvel=state.speeds, ctrl=controls)
        for _ in range(config.frames):
            data = model.mjx.step(model.on_device, data)
        forward = (data.qpos[0] - state.positions[0]) / (config.frames * model.step_seconds)
        reward = forward - config.control_cost * jnp.sum(jnp.square(controls))
        return PhysicsState(data.qpos, data.qvel), -reward

    return Unrolled(init, step, config.horizon)
