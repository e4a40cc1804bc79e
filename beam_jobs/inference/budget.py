"""What was spent on an endpoint, kept on the disk: all processes of a host share it, and a kill forgets nothing.

A request is paid for before it is sent, with the most tokens that it may write; what it did not write is given back
with its answer. So no limit is ever passed, and what a killed run had under way counts as spent. (A power cut may
forget the latest payments, as it may the latest answers of the request cache.)
"""

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from beam_jobs.inference.request_cache import open_when_free
from shammie.errors import UserError
from shammie.files import is_local, make_directory

SPENT = "the budget is spent"  # the error of a completion that was therefore not asked for
_TABLE = (
    "CREATE TABLE IF NOT EXISTS spent (one INTEGER PRIMARY KEY, requests, tokens)",
    "INSERT OR IGNORE INTO spent VALUES (0, 0, 0)",
)


@dataclass(frozen=True)
class Spending:
    """What was spent so far.

    Attributes:
        requests: sent, those that were sent again among them.
        tokens: that answers took; of requests under way or lost, the most that they may have taken.
    """

    requests: int
    tokens: int


class Budget:
    """Limits to requests and tokens, in a folder; threads may share one, and processes the folder.

    Args:
        folder: a local one; it is made where it is missing.
        most_requests: 0 for no limit.
        most_tokens: that answers may take together; 0 for no limit.

    Raises:
        UserError: the folder cannot hold it.
    """

    def __init__(self, folder: str, most_requests: int = 0, most_tokens: int = 0) -> None:
        if not is_local(folder):
            raise UserError(f"budget folder {folder!r} is not on a local disk", "name a folder of this host")
        make_directory(folder)
        self._folder, self._most = folder, (most_requests, most_tokens)
        self._lock = threading.Lock()
        try:
            self._connection = open_when_free(os.path.join(folder, "spent.sqlite"), _TABLE)
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error

    def reserve(self, tokens: int) -> bool:
        """Pays for a request; False, and nothing is paid, where that would pass a limit.

        Args:
            tokens: the most that its answer may take.
        """
        most_requests, most_tokens = self._most
        paid, _ = self._do(
            "UPDATE spent SET requests = requests + 1, tokens = tokens + ?1 WHERE one = 0"
            " AND (?2 = 0 OR requests < ?2) AND (?3 = 0 OR tokens + ?1 <= ?3)",
            tokens, most_requests, most_tokens,
        )  # fmt: skip
        return paid == 1

    def give_back(self, tokens: int) -> None:
        """Gives back tokens that an answer did not take."""
        self._do("UPDATE spent SET tokens = tokens - ? WHERE one = 0", tokens)

    def spent(self) -> Spending:
        """What was spent so far, by whomever."""
        _, rows = self._do("SELECT requests, tokens FROM spent WHERE one = 0")
        return Spending(*rows[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def _do(self, statement: str, *values: int) -> tuple[int, list[Any]]:
        """How many rows changed, and the rows that were asked for."""
        try:
            with self._lock, closing(self._connection.execute(statement, values)) as cursor:
                return cursor.rowcount, cursor.fetchall()
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.DatabaseError) -> UserError:
        return UserError(
            f"budget in {self._folder}: {error}", "see to the disk, or remove spent.sqlite there and what it counted"
        )
