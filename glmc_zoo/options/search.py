"""The options that a search on held-out training images decides (``search_minutes``)."""

from glmc_zoo.errors import UserError
from glmc_zoo.options.given import Given

SEARCHED = frozenset({"lr", "epochs", "passes", "warmup_epochs"})
"""Options that the search decides; the warm-up follows from the epochs."""


def settle_search(given: Given) -> Given:
    """The given options, without those of the file that the search will decide again.

    The file of a run with a search holds ``search_minutes`` and the values that were chosen. Such a file repeats the
    training with these values. It repeats the search only if ``search_minutes`` is given explicitly as well.

    Raises:
        UserError: An option that the search decides was given beside ``search_minutes``.
    """
    if given.get("search_minutes") is None:
        return given
    explicit, file = dict(given.explicit), dict(given.file)
    if "search_minutes" in explicit:
        file = {name: value for name, value in file.items() if name not in SEARCHED}
    elif {"lr", "epochs"} <= file.keys():
        file["search_minutes"] = None
        return Given(explicit, file, given.command)
    decided = [name for name in explicit | file if name in SEARCHED and given.get(name) is not None]
    if decided:
        raise UserError(
            f"{decided[0]}= is decided by the search that search_minutes={given.get('search_minutes')} asks for: leave "
            "one of them out."
        )
    return Given(explicit, file, given.command)
