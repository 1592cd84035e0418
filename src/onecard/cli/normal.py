"""After a run, and when an old one is looked at: is its speed normal, and if not, why?"""

from onecard.core.record import Record


def tell(record: Record, *, err: bool = False) -> None:
    """Each rate against its yardsticks, and what made it slow. err: on standard error, where the answer itself went out."""
    from onecard.api import opinions

    found = [opinion for opinion in opinions(record) if opinion.comparisons]
    if not found:
        return
    from rich.console import Console

    from onecard.show.console import show
    from onecard.show.opinion import opinions_view

    if err:
        Console(stderr=True, highlight=False).print(opinions_view(found))
    else:
        show(opinions_view(found))
