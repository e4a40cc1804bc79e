from models.rest_em.program_text import code_of, program_of
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
