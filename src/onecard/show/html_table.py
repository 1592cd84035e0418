"""A table as HTML text."""

from collections.abc import Iterable


def table(header: Iterable[str], rows: Iterable[Iterable[str]], numbers: frozenset[int] = frozenset()) -> str:
    """Cells are HTML; columns in `numbers` are right-aligned. Wider than the page it scrolls by itself."""

    def cells(tag: str, values: Iterable[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{v}</{tag}>" for i, v in enumerate(values))

    lines = "".join(f"<tr>{cells('td', r)}</tr>" for r in rows)
    head = f"<thead><tr>{cells('th', header)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{lines}</tbody></table></div>'
