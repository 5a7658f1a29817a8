"""The options that a search on held-out training images decides (``search_minutes``)."""

from glmc_zoo.errors import UserError
from glmc_zoo.options.user_options import UserOptions

SEARCHED = frozenset({"lr", "epochs", "passes", "warmup_epochs"})
"""Options that the search decides; the warm-up follows from the epochs."""


def resolve_search(user_options: UserOptions) -> UserOptions:
    """The given options, without those of the file that the search will decide again.

    The file of a run with a search holds ``search_minutes`` and the values that were chosen. Such a file repeats the
    training with these values. It repeats the search only if ``search_minutes`` is given explicitly as well.

    Raises:
        UserError: An option that the search decides was given beside ``search_minutes``.
    """
    if user_options.get("search_minutes") is None:
        return user_options
    explicit, file = dict(user_options.explicit), dict(user_options.file)
    if "search_minutes" in explicit:
        file = {name: value for name, value in file.items() if name not in SEARCHED}
    elif {"lr", "epochs"} <= file.keys():
        file["search_minutes"] = None
        return UserOptions(explicit, file, user_options.command)
    conflicts = [name for name in explicit | file if name in SEARCHED and user_options.get(name) is not None]
    if conflicts:
        raise UserError(
            f"{conflicts[0]}= is decided by the search that search_minutes={user_options.get('search_minutes')} asks "
            "for: leave one of them out."
        )
    return UserOptions(explicit, file, user_options.command)
