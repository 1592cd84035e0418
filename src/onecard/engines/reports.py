"""Reports of a harbour office and what they come down to, to summarise without a download.

    the office was open as usual . salt was cheap in dover . the falcon left riga with wool . in the south the orion
    waited for better days . a storm held the falcon up . she is six days behind her plan . she made fast in porto .
        ->  the falcon came to porto six days late with wool , because of a storm .

Five facts stand in five sentences somewhere in the report, between sentences about other ships, ports, goods and reasons
in the same words; the report opens with such sentences. So the first three sentences miss most of the facts, and words
alone do not tell which of the ships, ports and reasons counts: only the sentence around them does.
"""

import random

GENERATED = 4000
"""reports of the default set"""

_SHIPS = ["falcon", "orion", "swallow", "amber", "pelican", "juno"]
_PORTS = ["riga", "porto", "dover", "bergen", "genoa", "gdansk"]
_GOODS = ["wool", "salt", "timber", "grain", "copper", "glass"]
_DAYS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
_REASONS = ["a storm", "ice", "fog", "a strike", "a broken mast", "a sick crew"]


def reports(count: int, seed: int) -> list[tuple[str, str]]:
    """(report, summary)"""
    draw = random.Random(f"reports {seed}")
    found = []
    for _ in range(count):
        ship, other = draw.sample(_SHIPS, 2)
        home, port, far = draw.sample(_PORTS, 3)
        goods, dear = draw.sample(_GOODS, 2)
        days, reason, feared = draw.choice(_DAYS), *draw.sample(_REASONS, 2)
        facts = [
            f"the {ship} left {home} with {goods} .",
            f"{reason} held the {ship} up .",
            f"she is {days} days behind her plan .",
            f"she made fast in {port} .",
        ]
        beside = [
            "the office was open as usual .",
            f"{dear} was cheap in {far} .",
            f"the {other} waited for better days .",
            f"the pilots speak of {feared} .",
            f"merchants from {draw.choice(_PORTS)} asked for {draw.choice(_GOODS)} .",
        ]
        draw.shuffle(beside)
        rest = facts + beside[2:]
        places = sorted(draw.sample(range(len(rest)), len(facts)))
        middle, told, more = [], iter(facts), iter(beside[2:])
        for at in range(len(rest)):
            middle.append(next(told) if at in places else next(more))
        report = " ".join([*beside[:2], *middle])
        found.append((report, f"the {ship} came to {port} {days} days late with {goods} , because of {reason} ."))
    return found
