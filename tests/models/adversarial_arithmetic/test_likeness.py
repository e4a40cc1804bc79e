import pytest

from models.adversarial_arithmetic.likeness import folded, jaccard, nearly_the_same, word_pairs


def test_folding() -> None:
    assert folded(" The ANSWER\tis  8. ") == folded("the answer is 8.")
    assert folded("It is 8") != folded("It is 9")


def test_pairs_mask_numbers() -> None:
    assert word_pairs("2 + 2 is 5.") == {
        ("^", "#"),
        ("#", "+"),
        ("+", "#"),
        ("#", "is"),
        ("is", "#"),
        ("#", "."),
        (".", "$"),
    }
    assert word_pairs("12 + 7 is -1,005.") == word_pairs("2 + 2 is -5.")
    assert word_pairs("It is forty-two") == word_pairs("it is 8")
    assert word_pairs("") == {("^", "$")}


def test_jaccard_by_hand() -> None:
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert jaccard(frozenset(), frozenset()) == 1
    assert jaccard({1}, {2}) == 0


@pytest.mark.parametrize(
    ("first", "second", "near"),
    [
        ("Tom says that the answer to this is 8.", "Tom says that the answer to this is 9.", True),
        # 12 pairs each, 11 in common of 13: 0.846; and 9 each, 8 of 10: 0.8 is not over it
        ("a b c d e f g h i j k", "a b c d e f g h i j l", False),
        ("a b c d e f g h i j k l m n o p q r s t", "a b c d e f g h i j k l m n o p q r s t u", True),
        ("It is 8.", "Tom says 8.", False),
    ],
)
def test_near(first: str, second: str, near: bool) -> None:
    assert nearly_the_same(word_pairs(first), word_pairs(second)) is near


def test_the_bound_itself_is_not_near() -> None:
    assert not nearly_the_same(set(range(8)), set(range(10)))
    assert nearly_the_same(set(range(81)), set(range(100)))
