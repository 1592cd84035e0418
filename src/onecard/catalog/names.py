"""Names as people type them: the same name in any case and with any separators, never a part of a name.

"RTX 4070 Ti", "rtx-4070-ti" and "RTX4070TI" are one name; "RTX 4070" is another one, and so is "RTX 4070 Ti SUPER".
"""

import re

_SEPARATORS = str.maketrans("", "", " \t-_:()®™")
_MARKS = re.compile(r"\((?:r|tm)\)", re.IGNORECASE)


def key(name: str) -> str:
    """What two spellings of one name have in common: letters, digits, dots and slashes without case."""
    if "(" in name:  # "Intel(R) Arc(TM) A770 Graphics"
        name = _MARKS.sub("", name)
    return name.casefold().translate(_SEPARATORS)
