import pytest

from workbench.wording import agree, format_count


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "pair", "0 pairs"),
        (1, "pair", "1 pair"),
        (2345, "pair", "2,345 pairs"),
        (2, "class", "2 classes"),
        (2, "bus stop", "2 bus stops"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
        (3, "entry", "3 entries"),
        (3, "array", "3 arrays"),
        (1, "finished trial", "1 finished trial"),
    ],
)
def test_a_noun_agrees_with_its_number(count, noun, expected):
    assert format_count(count, noun) == expected


def test_a_verb_agrees_with_its_number():
    assert [agree(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]
