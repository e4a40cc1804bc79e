"""Answers that are kept on the disk by the request that they answer, for reruns and for what a killed run had done.

A SQLite file with a write-ahead log: threads and processes of one host may use it at once, a kill loses nothing that
`put` returned from, and a power cut at most the latest answers. SQLite's own locks do not work on all network file
systems: give each host a folder on its own disk.
"""

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Self

from shammie.errors import UserError
from shammie.files import canonical_json, digest, is_local, make_directory

VERSION = 1
_FILES = 10
_WAIT_S = 60.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers"
    " (key TEXT PRIMARY KEY, answer BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID",
    "SELECT key, answer, checksum FROM answers LIMIT 1",
)
_LOG = logging.getLogger(__name__)


def key_of(request: Mapping[str, Any]) -> str:
    """The key of a request: sha256, in hex, of all that may change its answer, and of this format's version."""
    return digest({"version": VERSION, "request": dict(request)})


class RequestCache:
    """Keys to JSON objects, in a folder; threads may share one, and processes the folder.

    An entry that is damaged is as good as none: there is a warning, and the request is to be asked again. So is a
    damaged file, beside which a new one is begun.

    Args:
        folder: a local one; it is made where it is missing.

    Raises:
        UserError: there can be no cache in that folder.
    """

    def __init__(self, folder: str) -> None:
        if not is_local(folder):
            raise UserError(f"request cache {folder!r} is not on a local disk", "name a folder of this host")
        make_directory(folder)
        self.folder = folder
        self._lock = threading.RLock()
        self._number = -1
        self._next_file()

    @property
    def path(self) -> str:
        """The file in use."""
        return os.path.join(self.folder, f"answers.{self._number}.sqlite")

    def get(self, key: str) -> dict[str, Any] | None:
        """What was kept, if it is whole."""
        with self._lock:
            rows = self._do("SELECT answer, checksum FROM answers WHERE key = ?", key)
        if not rows:
            return None
        answer, checksum = rows[0]
        if not isinstance(answer, bytes) or checksum != _checksum(key, answer):
            _LOG.warning("request cache %s: entry %s is damaged and is asked again", self.path, key)
            return None
        return json.loads(answer)

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keeps an answer: plain JSON values."""
        data = canonical_json(dict(answer)).encode()
        with self._lock:
            self._do("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", key, data, _checksum(key, data))

    def count(self) -> int:
        """How many answers are kept."""
        with self._lock:
            return self._do("SELECT COUNT(*) FROM answers")[0][0]

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, statement: str, *values: str | bytes) -> list[Any]:
        while True:
            try:
                with closing(self._connection.execute(statement, values)) as cursor:
                    return cursor.fetchall()
            except sqlite3.DatabaseError as error:
                self._next_file_after(error)

    def _next_file(self) -> None:
        while True:
            self._number += 1
            if self._number == _FILES:
                raise UserError(f"request cache {self.folder}: {_FILES} files are damaged", "remove the folder")
            try:
                self._connection = open_when_free(self.path, _TABLE)
            except sqlite3.DatabaseError as error:
                self._warn_or_raise(error)
            else:
                return

    def _next_file_after(self, error: sqlite3.DatabaseError) -> None:
        self._warn_or_raise(error)
        self._connection.close()
        self._next_file()

    def _warn_or_raise(self, error: sqlite3.DatabaseError) -> None:
        # a file is not moved away: another process may have it open, and its log goes by its name
        if _code(error) not in _DAMAGED:
            cure = "see to the disk, or name another folder for the request cache"
            raise UserError(f"request cache {self.path}: {error}", cure) from error
        _LOG.warning("request cache %s is damaged: another is begun, what it held is asked again", self.path)


def _code(error: sqlite3.DatabaseError) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to its primary codes


def open_when_free(path: str, statements: Sequence[str]) -> sqlite3.Connection:
    """A SQLite file with a write-ahead log, for threads and processes; each statement is a transaction of its own.

    Args:
        path: of the file; it is made where it is missing.
        statements: that are run at once, such as those that make its tables.
    """
    # SQLite's own waiting does not cover the change to a write-ahead log, where processes that begin at once meet
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            return _open(path, statements)
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _open(path: str, statements: Sequence[str]) -> sqlite3.Connection:
    # autocommit: each statement is a transaction of its own, so that no reader keeps a writer waiting
    connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # a damaged text need not be UTF-8
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        for statement in statements:
            connection.execute(statement).fetchall()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _checksum(key: str, answer: bytes) -> bytes:
    return hashlib.sha256(key.encode() + answer).digest()
