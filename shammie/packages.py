"""Whether the packages that answer to our common names are ours: `models` could be anybody's."""

import importlib.util
import os
from importlib import metadata

import shammie
from shammie.errors import UserError

NAMES = ("models", "seqio_tasks", "beam_jobs", "workflows")


def home() -> str:
    """The folder that holds our packages: a checkout's root, or site-packages."""
    return os.path.dirname(os.path.dirname(os.path.abspath(shammie.__file__)))


def checkout() -> str | None:
    """The root of the checkout that this runs from; None for an installed wheel."""
    return home() if os.path.isfile(os.path.join(home(), "pyproject.toml")) else None


def foreign_packages() -> dict[str, str]:
    """Our package names that lead elsewhere, each with where it leads."""
    wrong: dict[str, str] = {}
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            wrong[name] = "nothing: it is not installed"
            continue
        found = os.path.dirname(spec.origin) if spec.origin else next(iter(spec.submodule_search_locations or []), "?")
        if os.path.realpath(found) != os.path.realpath(os.path.join(home(), name)):
            wrong[name] = found
    return wrong


def other_owners() -> dict[str, list[str]]:
    """Other installed distributions that bring a package under one of our names; they may overwrite its files."""
    owners = metadata.packages_distributions()
    return {name: others for name in NAMES if (others := sorted(set(owners.get(name, [])) - {"shammie"}))}


def check_packages_are_ours() -> None:
    """Raises UserError where `models`, `workflows`, … would import another distribution's code.

    Imports nothing, so that Beam workers can afford it when they start.
    """
    for name, where in foreign_packages().items():
        raise UserError(
            f"package {name!r} leads to {where}, not to shammie's own in {home()}",
            "start from another folder, or install shammie in an environment of its own",
        )
    for name, others in other_owners().items():
        raise UserError(
            f"package {name!r} also belongs to {', '.join(others)}",
            f"pip uninstall {others[0]}, then install shammie again",
        )
