"""What was spent on an endpoint, kept on the disk: all processes of a host share it, and a kill forgets nothing.

A request is paid for before it is sent, with the most tokens that it may write; what it did not write is given back
with its answer. So no limit is ever passed, and what a killed run had under way counts as spent.
"""

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass

from shammie.errors import UserError
from shammie.files import is_local, make_directory

SPENT = "the budget is spent"  # the error of a completion that was therefore not asked for
_WAIT_S = 60.0


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
        self._most = (most_requests, most_tokens)
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                os.path.join(folder, "spent.sqlite"), timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("CREATE TABLE IF NOT EXISTS spent (one INTEGER PRIMARY KEY, requests, tokens)")
            self._connection.execute("INSERT OR IGNORE INTO spent VALUES (0, 0, 0)")
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"budget in {folder}: {error}", "remove spent.sqlite there, or name another folder"
            ) from error

    def reserve(self, tokens: int) -> bool:
        """Pays for a request; False, and nothing is paid, where that would pass a limit.

        Args:
            tokens: the most that its answer may take.
        """
        most_requests, most_tokens = self._most
        with (
            self._lock,
            closing(
                self._connection.execute(
                    "UPDATE spent SET requests = requests + 1, tokens = tokens + ?1 WHERE one = 0"
                    " AND (?2 = 0 OR requests < ?2) AND (?3 = 0 OR tokens + ?1 <= ?3)",
                    (tokens, most_requests, most_tokens),
                )
            ) as cursor,
        ):
            return cursor.rowcount == 1

    def give_back(self, tokens: int) -> None:
        """Gives back tokens that an answer did not take."""
        with self._lock:
            self._connection.execute("UPDATE spent SET tokens = tokens - ? WHERE one = 0", (tokens,))

    def spent(self) -> Spending:
        """What was spent so far, by whomever."""
        with self._lock:
            return Spending(*self._connection.execute("SELECT requests, tokens FROM spent WHERE one = 0").fetchone())

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()
