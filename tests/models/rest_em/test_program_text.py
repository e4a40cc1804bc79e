import pytest

from models.rest_em.program_text import code_of, helpers_of, program_of
from models.rest_em.records import Problem

BODY = "    return 2 * x\n"


def problem(prefix: str) -> Problem:
    return Problem(id="p", prompt="", verifier="python", prefix=prefix)


def test_code_of_a_completion() -> None:
    assert code_of("\n\n    return 2 * x  \n\n") == "    return 2 * x"
    assert code_of("a = 1\r\nb = 2\r\n") == "a = 1\nb = 2"
    assert code_of("First:\n```python\na = 1\n```\nbetter:\n```py\nb = 2\n```\nprints\n```\n2\n```\n") == "b = 2"
    assert code_of("```\na = 1\n```\n```text\nno code\n```") == "a = 1"
    assert code_of("Here:\n```python\na = 1\n    b") == "a = 1\n    b"  # cut at the limit of tokens
    assert code_of("s = '```'") == "s = '```'"
    assert code_of("") == ""


def test_the_prefix_stands_before_the_body() -> None:
    assert program_of(problem("def f(x):\n"), BODY) == "def f(x):\n" + BODY
    assert program_of(problem(""), "print(1)") == "print(1)\n"
    assert program_of(problem("def f(x):\n"), "```python\n" + BODY + "```") == "def f(x):\n" + BODY


def test_a_whole_function_replaces_the_head_but_not_what_stands_before_it() -> None:
    head = 'import math\n\ndef help(x):\n    return x\n\ndef f(x):\n    """Doubles."""\n'
    whole = "def f(x):\n" + BODY
    assert program_of(problem(head), whole) == "import math\n\ndef help(x):\n    return x\n\n" + whole
    assert program_of(problem(head), "```python\nimport re\n" + whole + "```").endswith("\n\nimport re\n" + whole)
    # a body, then the same function once more: the model went on
    assert program_of(problem(head), BODY + "\n" + whole) == head + BODY + "\n" + whole
    assert program_of(problem(head), "def g(x):\n" + BODY) == head + "def g(x):\n" + BODY


HELP = "import math\n\n\ndef help(x):\n    return math.floor(x)\n"
DOUBLES = 'def f(x):\n    """Doubles."""\n'


@pytest.mark.parametrize(
    ("prefix", "helpers"),
    [
        ("", ""),
        ("def f(x):\n", ""),
        (DOUBLES, ""),
        ('"""About."""\n' + DOUBLES, ""),
        (HELP + "\n\n" + DOUBLES, HELP),
        (HELP + "\n\ndef f(x):\n", HELP),
        (HELP + "\n\ndef f(\n    x: int,\n) -> int:\n", HELP),
        (HELP + "\n\n@functools.cache\ndef f(x):", HELP),
        (HELP + '\n\ndef f(x):\n    """Doubl', HELP),
        (HELP + "\n\nclass S:\n    def f(self, x):\n", HELP),
        (HELP + "\n\ndef f(x):\n    y = 2\n", HELP),  # it goes on
        (HELP + "\n\ndef f(x):\n    return", HELP),  # it goes on too
        (HELP, HELP),  # all of the asked function is in the completion
        ("N = 3\nfor i in range(N):\n    pass\n\ndef f(x):\n", "N = 3\nfor i in range(N):\n    pass\n"),
        ("def f(x):\n    return 1\n\n" + HELP + DOUBLES, HELP),  # an earlier one of that name
        ("def later(x):\n    pass\n\n" + HELP + DOUBLES, HELP),  # is to be written as well
        (
            "def a(x):\n    return x + b()\n\ndef b():\n    return Solution().b()\n",
            "def a(x):\n    return x + b()\n",
        ),
        (
            "from typing import *\n\ndef g(x: List):\n    return x\n\n" + DOUBLES,
            "from typing import *\n\ndef g(x: List):\n    return x\n",
        ),
        (") (", ""),
        ("x = '\0'\n", ""),
    ],
)
def test_helpers_are_what_the_prefix_defines_besides_the_asked_function(prefix: str, helpers: str) -> None:
    assert helpers_of(problem(prefix)).split() == helpers.split()


def test_the_adapter_of_apps_stays_with_the_program() -> None:
    adapter = "from typing import List\n\ndef solve(*arguments):\n    return Solution().solve(*arguments)\n"
    assert helpers_of(problem(adapter)) == "from typing import List\n"
