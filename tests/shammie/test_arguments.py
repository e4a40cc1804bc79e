import pytest

from shammie.arguments import Parser
from shammie.errors import UserError


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="program")
    parser.add_argument("--count", type=int)
    with pytest.raises(UserError) as caught:
        parser.parse_args(["--count", "many"])
    assert str(caught.value) == "argument --count: invalid int value: 'many'; program --help shows how"
    assert capsys.readouterr() == ("", "")
