"""Modules that stand in for T5X: the recorded names and parameters, nothing behind them."""

import importlib.machinery
import inspect
import sys
from types import ModuleType
from typing import Any

from workflows import t5x_contract


def install() -> None:
    """Puts the stand-ins where `import t5x` finds them."""
    for name in {"t5x", *(dotted.rpartition(".")[0] for dotted in t5x_contract.SIGNATURES)}:
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=name == "t5x")
        module.__path__ = []
        sys.modules[name] = module
        if name != "t5x":
            setattr(sys.modules.setdefault("t5x", ModuleType("t5x")), name.removeprefix("t5x."), module)
    for dotted, parameters in t5x_contract.SIGNATURES.items():
        module, _, name = dotted.rpartition(".")
        made = class_of(name, parameters) if name[0].isupper() else function_of(name, parameters)
        made.__module__ = module
        setattr(sys.modules[module], name, made)
    sys.modules["t5x.optimizers"].OptaxStatePartitionRules._RULES = {}
    for name in t5x_contract.TESTED.keys() - {"t5x"}:
        sys.modules[name] = ModuleType(name)


def signature_of(parameters: tuple[str, ...], *, bound: bool) -> inspect.Signature:
    names = (("self",) if bound else ()) + parameters
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind, default=None) for name in names])


def function_of(name: str, parameters: tuple[str, ...]) -> Any:
    def told(*arguments: Any, **named: Any) -> dict[str, Any]:
        return signature_of(parameters, bound=False).bind(*arguments, **named).arguments

    told.__name__ = told.__qualname__ = name
    told.__signature__ = signature_of(parameters, bound=False)
    return told


def class_of(name: str, parameters: tuple[str, ...]) -> Any:
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        self.told = signature_of(parameters, bound=False).bind(*arguments, **named).arguments
        for key, value in self.told.items():
            setattr(self, key, value)

    __init__.__signature__ = signature_of(parameters, bound=True)
    return type(name, (), {"__init__": __init__})
