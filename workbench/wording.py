"""Numbers with nouns and verbs that agree with them: `1 pair is`, `2 pairs are`."""


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun: `1 pair`, `2,345 pairs`, `2 finished trials`, `3 classes`.

    Args:
        count: the number.
        noun: the singular; in front of it there may be adjectives.
    """
    return f"{count:,} {noun if count == 1 else pluralize(noun)}"


def pluralize(noun: str) -> str:
    """Return the plural of a regular English noun."""
    if noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch"):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def agree(count: int, singular: str, plural: str) -> str:
    """Return the word that agrees with a number: `agree(1, "is", "are")` is `is`."""
    return singular if count == 1 else plural
