"""Command-line arguments whose complaints are for people."""

import argparse
from typing import NoReturn

from shammie.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        raise UserError(message, f"{self.prog} --help shows how")
