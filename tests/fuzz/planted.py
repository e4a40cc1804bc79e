"""Parsers with faults that the fuzzer must find."""

import ctypes

from tests.fuzz.loop import Case


def _faulty(data: bytes) -> None:
    if len(data) > 4 and data[3] > 200:
        raise IndexError("beyond")


def _ends(data: bytes) -> None:
    if data[:1] == b"\xff":
        ctypes.string_at(0)


def _never_ends(data: bytes) -> None:
    while len(data) > 20:
        pass


def _greedy(data: bytes) -> None:
    if data[:1] > b"\xf0":
        bytearray(1 << 30).__setitem__(slice(None, None, 4096), b"x" * (1 << 18))


def faults() -> list[Case]:
    """An exception that is no refusal, and a message that moves the terminal."""

    def loud(data: bytes) -> None:
        raise RuntimeError("x" * 5000) if data[:1] == b"\x01" else ValueError("no")

    return [
        Case("faulty", lambda: [b"some words"], _faulty, ()),
        Case("loud", lambda: [b""], lambda data: loud(data) if data else None, (ValueError, RuntimeError)),
        Case("greedy", lambda: [b"some"], _greedy, ()),
    ]


def crash() -> list[Case]:
    """The process ends."""
    return [Case("ends", lambda: [b"some words"], _ends, ())]


def hang() -> list[Case]:
    """An input never ends."""
    return [Case("never_ends", lambda: [b"some words"], _never_ends, ())]
