from dataclasses import dataclass, field

import pytest

from shammie.configs import LATER, from_plain, plain
from shammie.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    slope: float = field(default=2.0, metadata=LATER)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    seeds: tuple[int, ...] = (0, 1)
    parts: dict[str, Inner] = field(default_factory=dict)
    more: Inner | None = field(default=None, metadata=LATER)


def test_what_came_later_is_named_only_where_it_is_set() -> None:
    assert plain(Outer()) == {"inner": {"rate": 0.1}, "seeds": [0, 1], "parts": {}}
    told = plain(Outer(inner=Inner(slope=3.0), parts={"a": Inner()}, more=Inner()))
    assert told["inner"] == {"rate": 0.1, "slope": 3.0}
    assert told["parts"] == {"a": {"rate": 0.1}}
    assert told["more"] == {"rate": 0.1}


def test_plain_values_stay() -> None:
    assert plain([1, ("a", None), {"b": 2.5}]) == [1, ["a", None], {"b": 2.5}]


def test_plain_values_make_a_config() -> None:
    assert from_plain(Inner, {"slope": 3.0}, "setting") == Inner(0.1, 3.0)
    with pytest.raises(UserError, match="setting 'slop'"):
        from_plain(Inner, {"slop": 3.0}, "setting")
