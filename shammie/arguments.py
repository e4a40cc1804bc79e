"""Command-line arguments whose complaints are for people."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from shammie.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        raise UserError(message, f"{self.prog} --help shows how")

    def parse_with_flags(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """What it declares, and the flags that it does not know, which are for others, such as Beam.

        Among those may be @FILE, a file of flags.

        Raises:
            UserError: a word stands where only flags may.
        """
        arguments, flags = self.parse_known_args(words)
        if flags and not flags[0].startswith(("-", "@")):
            raise UserError(f"unexpected argument {flags[0]!r}", f"{self.prog} --help shows how")
        return arguments, flags
