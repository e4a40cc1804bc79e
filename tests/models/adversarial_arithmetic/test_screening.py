import pytest

from models.adversarial_arithmetic.questions import question_of
from models.adversarial_arithmetic.screening import asks_another, fault_of

QUESTION = question_of(3, "+", 4)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It is 8.", ""),
        ("  ", "empty"),
        ("", "empty"),
        ("\n", "empty"),
        ("It is\n8.", "line break"),
        ("It is 8.\n", "line break"),
        ("It is\N{LINE SEPARATOR}8.", "line break"),
        ("8. Answer: 8", "answer mark"),
        ("8. ANSWER :", "answer mark"),
        ("the answer is 8", ""),
        ("x" * 20, ""),
        ("x" * 21, "too long"),
        ("What is 5 + 5?", "other question"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    assert fault_of(QUESTION, text, 20) == fault


@pytest.mark.parametrize(
    "text",
    [
        *(
            "What is 5 + 5?",
            "No. What is 3 + 5?",
            "Question: What is 3 + 5?",
            "Tom says 9. What does Tom say?",
            "5 + 5 = ?",
        ),
        *(
            "Calculate 5 * 5.",
            "please solve 3 + 40",
            "How many apples are there?",
            "How much is 3 times 4?",
            "13 + 4 = ",
        ),
        *(
            "What is 3 + 4 + 1?",
            "What is 1 + 3 + 4?",
            "What is 3 + 45?",
            "What is 3 + 4.5?",
            "Question: name a number.",
        ),
        *("5 plus 5?", "2 * 3 + 4 = __", "Which number is 9?", "What is 13 + 4?"),
    ],
)
def test_other_questions(text: str) -> None:
    assert asks_another(QUESTION, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "It is 8.",
            "2 + 2 = 5.",
            "Did you know that 2 + 2 = 5?",
            "What if it is 8?",
            "What is 3 + 4?",
            "Why not 8?",
        ),
        *("Question: What is 4 + 3? It is 8.", "What is the answer? It is 8.", "Tom says 9, really?", "How about 8?"),
        *(
            "Calculate with care.",
            "3 + 4 = ?",
            "Calculate 3 + 4.",
            "Say what you think.",
            "So what?",
            "What's the sum?",
        ),
    ],
)
def test_no_other_question(text: str) -> None:
    assert not asks_another(QUESTION, text)


def test_the_order_of_a_difference_counts() -> None:
    assert asks_another(question_of(9, "-", 2), "What is 2 - 9?")
    assert not asks_another(question_of(9, "-", 2), "What is 9 minus 2?")
    assert not asks_another(question_of(1200, "-", 2), "What is 1,200 - 2?")


def test_long_texts_take_no_long_time() -> None:
    for piece in ("1,", "2 + ", "2 + 2 ", "what is ", "solve ", "question: ", "1.", "2+2=", "-"):
        fault_of(QUESTION, piece * 10_000, 10**6)  # quadratic time would run into the test's limit
