"""A limit of time: options that would take longer are not offered to the search, which looks at memory alone.

Options go from least to most harm, and for a workload with a `time` setting what harms less takes longer (a deeper net,
more epochs). So the first options are dropped until one is quick enough; the last one always stays, since a run that
knows its limit may end earlier.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from onecard.core.plan import Choice


def quick_enough(
    choices: tuple[Choice, ...], seconds: Callable[[dict[str, Any]], float], limit: float
) -> tuple[Choice, ...]:
    """The choices without what takes longer than `limit` seconds, each with the others at their least harm.

    seconds: chosen settings -> seconds of the whole work on the device that is planned for.
    """
    left = list(choices)
    for i, choice in enumerate(left):
        options, harms = choice.options, choice.harms
        first = {c.setting: c.options[0] for c in left}
        while len(options) > 1 and seconds({**first, choice.setting: options[0]}) > limit:
            if seconds({**first, choice.setting: options[1]}) >= seconds({**first, choice.setting: options[0]}):
                break  # this one costs no time, and giving it up would win none
            options, harms = options[1:], harms[1:]
        left[i] = msgspec.structs.replace(choice, options=options, harms=harms)
    return tuple(left)
