"""A small foreign language to translate into without a download: numbers in words, things and colours, verb last.

    the red dog sees seven cats      ->      hund rot katzen 7 sieht

The copy of the source shares hardly a word with the target; the order is turned and number words become digits. Every
sentence has exactly one right translation, so BLEU can reach 100.
"""

import random

GENERATED = 4000
"""pairs of the default set"""
_THINGS = {"dog": "hund", "bird": "vogel", "horse": "pferd", "child": "kind", "king": "konig", "fox": "fuchs"}
_MANY = {"cats": "katzen", "trees": "baume", "books": "bucher", "cups": "tassen", "ships": "schiffe"}
_COLOURS = {"red": "rot", "blue": "blau", "green": "grun", "old": "alt", "small": "klein"}
_VERBS = {"sees": "sieht", "wants": "will", "draws": "malt", "finds": "findet"}
_NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """(source, target)"""
    draw = random.Random(f"parallel {seed}")
    found = []
    for _ in range(count):
        thing, many = draw.choice(list(_THINGS)), draw.choice(list(_MANY))
        colour, verb = draw.choice(list(_COLOURS)), draw.choice(list(_VERBS))
        number = draw.randrange(len(_NUMBERS))
        source = f"the {colour} {thing} {verb} {_NUMBERS[number]} {many}"
        target = f"{_THINGS[thing]} {_COLOURS[colour]} {_MANY[many]} {number + 2} {_VERBS[verb]}"
        found.append((source, target))
    return found
