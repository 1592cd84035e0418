"""A set of sentiments whose bags of words say nothing: only who is negated decides.

Every sentence has one praising and one scolding word, and "not" before one of the two:

    the plot was not dull and the acting was moving       positive
    the plot was dull and the acting was not moving       negative

Both labels draw their words from the same distribution, so a bag of words cannot do better than chance, and what is
above one half was learnt from the order.
"""

import random

GENERATED = 6000
"""sentences of the default set"""

_GOOD = ["good", "great", "moving", "funny", "clever", "warm"]
_BAD = ["bad", "dull", "boring", "weak", "slow", "cold"]
_THINGS = ["plot", "acting", "ending", "music", "film", "story"]
_OPENINGS = ("", "honestly ", "to me ", "all in all ")
_LINKS = (" and ", " , ", " while ")


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(text, "positive" or "negative"), half of each."""
    draw = random.Random(f"negation {seed}")
    found = []
    for i in range(count):
        positive = i % 2 == 0
        good, bad = draw.choice(_GOOD), draw.choice(_BAD)
        parts = [good, f"not {bad}"] if positive else [f"not {good}", bad]
        draw.shuffle(parts)
        one, other = draw.sample(_THINGS, 2)
        text = f"{draw.choice(_OPENINGS)}the {one} was {parts[0]}{draw.choice(_LINKS)}the {other} was {parts[1]}"
        found.append((text, "positive" if positive else "negative"))
    draw.shuffle(found)
    return found
