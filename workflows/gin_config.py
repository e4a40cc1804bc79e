"""gin files and bindings, parsed strictly: a name that nothing declares is an error, in one line.

gin itself accepts a misspelt macro in silence. Here a binding on the command line must name
something that a file declares or a parameter that exists, and a macro that nothing uses is refused.
gin's state is global to the process: one configuration at a time.
"""

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gin

from shammie.errors import UserError, unknown
from shammie.packages import home

T = TypeVar("T")

_MACRO = re.compile(r"^([A-Za-z_][\w]*)\s*=", re.MULTILINE)


def gin_root() -> str:
    """The folder in which `gin/…` paths resolve: the checkout's root, or the installed package's data."""
    packaged = os.path.join(home(), "shammie")
    return packaged if os.path.isdir(os.path.join(packaged, "gin")) else home()


def gin_files() -> list[str]:
    """Every gin file that ships, as its include path: `gin/equal_info/main.gin`."""
    root = Path(gin_root())
    return sorted(path.relative_to(root).as_posix() for path in (root / "gin").rglob("*.gin"))


def parse(gin_file_names: Sequence[str], bindings: Sequence[str] = (), *, modules: Sequence[str] = ()) -> None:
    """Replaces gin's configuration by these files and bindings, in this order; later ones win.

    Args:
        gin_file_names: paths from here, or include paths of shipped files (`gin/equal_info/tiny.gin`).
        bindings: `NAME=VALUE`, of a macro that a file declares or a parameter (`equal_info.Settings.vocab_size=4096`).
        modules: dotted modules whose last word bindings may use even if no file imports them.

    Raises:
        UserError: a file, macro or parameter that does not exist, or a value that cannot be read.
    """
    _search_our_files()
    gin.clear_config()
    texts, mine = [], list(bindings)
    for name in gin_file_names:
        own, *included = _parse_file(name)
        texts += [own, *included]
        mine.append(own)
    for binding in bindings:
        _parse_binding(binding, modules)
    _refuse_unused_macros("\n".join([*texts, *bindings]), set_here="\n".join(mine))
    try:
        gin.finalize()
    except ValueError as error:
        raise _explained(error) from error


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's words as bindings, `--gin.` taken off, and all others.

    They are told apart before argparse sees them: it would give a binding with a space in it to the option before it.
    """
    bindings = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
    return bindings, [word for word in words if not word.startswith("--gin.")]


def config_text() -> str:
    """The whole configuration as one gin file that needs no other, and gives the same configuration again."""
    text = gin.config_str()
    overridden = [f"%{name}" for name in _unused(macros(), text)]
    return f"{text}\n# Set, but overridden where it was used: {' '.join(overridden)}\n" if overridden else text


def call(function: Callable[..., T], **arguments: Any) -> T:
    """Calls a function with its parameters as gin configures them.

    Args:
        function: needs no decorator.
        arguments: given by the caller, over gin's.

    Raises:
        UserError: as the function raises it, without gin's account of the call, or for an unset required parameter.
    """
    try:
        return gin.get_configurable(function)(**arguments)
    except UserError as error:
        raise UserError(error.problem, error.cure) from error
    except RuntimeError as error:
        if "Required bindings" in str(error):
            raise _explained(error) from error
        raise


@functools.cache
def _search_our_files() -> None:
    gin.add_config_file_search_path(gin_root())


def _parse_file(name: str) -> list[str]:
    """Parses a file; returns its text and those of the files that it includes."""
    if not os.path.isfile(name) and not os.path.isfile(os.path.join(gin_root(), name)):
        raise unknown("gin file", name, gin_files())
    logging.disable(logging.ERROR)  # gin logs an error for each place where a file is not
    try:
        parsed = gin.parse_config_file(name)
    except (ValueError, NameError, AttributeError, SyntaxError, ImportError, OSError) as error:
        raise UserError(f"{name}: {_plain(error)}", _nearest_parameter(str(error))) from error
    finally:
        logging.disable(logging.NOTSET)
    waiting, texts = [parsed], []
    while waiting:
        one = waiting.pop()
        path = one.filename if os.path.isfile(one.filename) else os.path.join(gin_root(), one.filename)
        texts.append(Path(path).read_text())
        waiting.extend(one.includes)
    return texts


def _parse_binding(binding: str, modules: Sequence[str]) -> None:
    name, equals, value = (part.strip() for part in binding.partition("="))
    if not equals or not name or not value:
        raise UserError(f"binding {binding!r} is not NAME=VALUE", "write --gin.NAME=VALUE")
    if "." not in name:
        declared = macros()
        if name not in declared:
            raise unknown("gin macro", name, declared, "(a parameter is MODULE.FUNCTION.PARAMETER)")
    try:
        gin.parse_config(_imports(name, modules) + f"{name} = {value}")
    except SyntaxError as error:
        cure = f"text needs quotes that reach gin: --gin.{name}='\"…\"'"
        raise UserError(f"binding {binding!r}: the value cannot be read", cure) from error
    except (ValueError, NameError, AttributeError) as error:
        raise UserError(f"binding {binding!r}: {_plain(error)}", _nearest_parameter(str(error))) from error


def _imports(name: str, modules: Iterable[str]) -> str:
    """Import lines for the module that a binding names, so that it resolves though no file has used it."""
    called = name.rpartition("/")[2].partition(".")[0]  # without its scope
    found = [module for module in modules if module.rpartition(".")[2] == called]
    if not found:
        return ""
    package, _, module = found[0].rpartition(".")
    return f"from __gin__ import dynamic_registration\nfrom {package} import {module}\n"


def macros() -> list[str]:
    """The macros that the parsed files declare."""
    return sorted(set(_MACRO.findall(gin.config_str())))


def _unused(names: Iterable[str], text: str) -> list[str]:
    return [name for name in names if not re.search(rf"%{name}\b", text)]


def _refuse_unused_macros(text: str, *, set_here: str) -> None:
    """Refuses a macro that is set here and that no line of the text uses: it is most likely a misspelt one.

    A file that others include may provide more than they use.
    """
    declared = macros()
    unused = [name for name in _unused(declared, text) if re.search(rf"^{name}\s*=", set_here, re.MULTILINE)]
    if unused:
        used = [name for name in declared if name not in unused]
        raise unknown("gin macro", unused[0], used, "(it is set, but nothing uses it)")


def _plain(error: Exception) -> str:
    """What gin says, without its account of places inside itself."""
    text = str(error)
    place = re.search(r'In file "([^"]+)", line (\d+)', text)
    first = text.split("\n")[0].rstrip(". ")
    if isinstance(error, AttributeError) and (lost := re.search(r"selector ([\w.]+)", first)):
        first = f"there is no {lost[1]}"
    if isinstance(error, SyntaxError) and error.filename:
        first = f"{first} ({error.filename} line {error.lineno})"
    return f"{first} (line {place[2]})" if place else first


def _nearest_parameter(text: str) -> str:
    """The names near to the one that gin could not find, where they can be told."""
    import difflib
    import inspect
    import sys

    if match := re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", text):
        owner, wrong = match.groups()
        target: Any = gin.get_configurable(owner)
        original = inspect.getmro(target)[1] if inspect.isclass(target) else target  # gin puts a subclass in front
        known = list(inspect.signature(original).parameters)
    elif match := re.search(r"Couldn't resolve selector ([\w.]+); <module '([\w.]+)'", text):
        wrong = match[1].rpartition(".")[2]
        known = [name for name in vars(sys.modules[match[2]]) if not name.startswith("_")]
    else:
        return "check its spelling and the file's imports"
    near = difflib.get_close_matches(wrong, known, n=3) or known[:12]
    return f"did you mean {' or '.join(near)}?"


def _explained(error: Exception) -> UserError:
    """The error for something that a run must set, or that nothing sets."""
    text = str(error)
    if match := re.search(r"(?:([\w.]+)/macro\.value|([\w.]+)) set to `%gin.REQUIRED`", text):
        name = match[1] or match[2]
        return UserError(f"{name} must be set", f"add --gin.{name}=VALUE or set it in a gin file")
    if match := re.search(r"No bindings specified for '([\w.]+)/gin\.macro'", text):
        return unknown("gin macro", match[1], macros(), "(it is used, but nothing sets it)")
    if match := re.search(r"Required bindings for `(\S+)` not provided in config: \[(.*?)\]", text):
        name = match[2].split(",")[0].strip("'\" ")
        return UserError(
            f"{match[1]}.{name} must be set", "add it to a gin file or as --gin.MODULE.FUNCTION.NAME=VALUE"
        )
    return UserError(_plain(error))
