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


def test_flags_of_others_are_handed_on_and_words_are_not() -> None:
    parser = Parser(prog="prog")
    parser.add_argument("--own")
    arguments, others = parser.parse_with_flags(["--own", "1", "--runner=Flink", "--workers", "2"])
    assert arguments.own == "1"
    assert others == ["--runner=Flink", "--workers", "2"]
    with pytest.raises(UserError, match=r"unexpected argument 'stray'; prog --help"):
        parser.parse_with_flags(["stray", "--own", "1"])
