"""T5X's errors in one line: what went wrong in our terms, and what to do. `python -m t5x.train` shows it, and no trace.

SHAMMIE_DEBUG=1 keeps the traces.
"""

import os
import re
import sys
from typing import Any

from absl import app

from shammie.errors import UserError

DEBUG = "SHAMMIE_DEBUG"
A_CHECKPOINT = "give a folder checkpoint_STEP of a MODEL_DIR"
ANOTHER_MODEL = "give the gin files and the VOCAB_SIZE that it was trained with, or another MODEL_DIR"


class OneLine(app.ExceptionHandler):
    """A handler for `absl.app.install_exception_handler`: people's errors end T5X's command in one line."""

    def wants(self, exc: BaseException) -> bool:
        """Whether the error can be told in one line."""
        return not os.environ.get(DEBUG) and explained(exc) is not None

    def handle(self, exc: BaseException) -> None:
        """Puts the line where Python would print the trace."""
        told = explained(exc)
        sys.excepthook = lambda *_: print(f"t5x: {told}", file=sys.stderr)


def explained(error: BaseException) -> UserError | None:
    """The error as one of ours; None where nothing better than its trace is known."""
    chain: list[BaseException] = []
    while error and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for one in chain:
        if isinstance(one, UserError):
            return UserError(one.problem, one.cure)  # gin adds its account of the call to the text
    for one in chain:
        if found := _known(one):
            return found
    return None


def _known(error: BaseException) -> UserError | None:
    text = str(error)

    def has(pattern: str) -> Any:
        return re.search(pattern, text, re.DOTALL)

    if found := has(r"No (?:Task or Mixture|provider)[^']*'?([\w.]*)'?"):
        return UserError(
            f"SeqIO knows no task {found[1] or text!r}",
            "name data by --gin.DATA, or import the module that registers the task in a gin file",
        )
    if found := has(r"No configurable matching (?:reference )?'([^']+)'"):
        return UserError(
            f"gin: nothing is called {found[1]}", "check its spelling, and the imports of the gin files before it"
        )
    if found := has(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'"):
        return UserError(f"gin: {found[1]} has no parameter {found[2]}", "check its spelling and T5X's commit")
    if found := has(r"Couldn't (?:resolve|find)[^;.]*?([\w.]+)[;.]"):
        return UserError(f"gin: there is no {found[1]}", "check its spelling and T5X's commit (shammie doctor)")
    if found := has(r"([\w.]*)(?:/gin\.macro|/macro\.value|\.\w+)?`? set to `%gin.REQUIRED`"):
        return UserError(f"{found[1] or 'a macro'} must be set", f"add --gin.{found[1] or 'NAME'}=VALUE")
    if found := has(r"Required bindings for `(\S+)` not provided in config: \[([^\]]*)\]"):
        return UserError(f"{found[1]} needs {found[2]}", "set it in a gin file or by --gin.NAME=VALUE")
    if has(r"Unable to open file:? ?(\S+)") and "gin" in text:
        return UserError(text.split("\n")[0], "run from the repository's root, or add --gin_search_paths")
    if isinstance(error, AssertionError) and "checkpoints.py" in _place(error):
        return UserError(f"there is no checkpoint: {text.strip() or 'nothing is there'} does not exist", A_CHECKPOINT)
    if has("improperly formatted checkpoint directory"):
        return UserError("a folder of checkpoints was given where one is wanted", A_CHECKPOINT)
    if isinstance(error, SyntaxError):
        return UserError(
            f"gin cannot read a value: {text.splitlines()[0]}",
            """text needs quotes that reach gin: --gin.DATA="'…'\"""",
        )
    if found := has(r"Checkpoint period \((\d+)\), eval period \((\d+)\)"):
        return UserError(
            f"CHECKPOINT_EVERY={found[1]} and EVAL_EVERY={found[2]} are no multiples of each other",
            "change one of them",
        )
    if has("must be (?:either )?a factor"):
        return UserError(text.split("\n")[0], "choose a --gin.SUBMESH whose numbers divide the slice's")
    if has(r"Batch size (?:\(\d+\) must be divisible|isn't divided)"):
        return UserError(text.split("\n")[0], "choose another --gin.BATCH_SIZE")
    if found := has(r'parameter "(\w+)" in "([^"]*)".* generate shape (\([^)]*\)), but .* has shape (\([^)]*\))'):
        name = f"{found[2]}/{found[1]}".strip("/")
        return UserError(f"the checkpoint is another model's: its {name} is {found[4]}, not {found[3]}", ANOTHER_MODEL)
    shapes = r"(?:[Ss]hape.*(?:mismatch|different|not match|incompatible)|not compatible with|key.*(?:mismatch|differ))"
    if ("heckpoint" in _place(error) or "orbax" in _place(error)) and has(shapes):
        return UserError(
            f"the checkpoint is another model's: {text.splitlines()[0][:200]}",
            ANOTHER_MODEL,
        )
    return None


def _place(error: BaseException) -> str:
    """The files that the error came through."""
    names, trace = [], error.__traceback__
    while trace:
        names.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return " ".join(names)
