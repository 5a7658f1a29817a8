"""Count the files that are left out when a data set is read, by reason and with examples."""

from collections import Counter
from collections.abc import Sequence

from glmc_zoo.facts import LeftOutFacts
from glmc_zoo.text import escaped

MOST_EXAMPLES = 5
"""Examples that are stored for each reason."""
_EXAMPLES_IN_TEXT = 2


class LeftOut:
    """Files that are not used: how many for each reason, and the first few of each."""

    def __init__(self) -> None:
        self._files = Counter[str]()
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, path: str, files: int = 1) -> None:
        """Count ``files`` files for this reason.

        Args:
            reason: Why they are left out, to follow their number: ``hidden`` as in "3 hidden".
            path: One of them, relative to the data set's folder.
            files: Their number; 0 adds nothing.
        """
        if not files:
            return
        self._files[reason] += files
        examples = self._examples.setdefault(reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(escaped(path))

    def update(self, other: "LeftOut", below: str = "") -> None:
        """Add the files of ``other``, whose paths are relative to the folder ``below``."""
        for facts in other.facts():
            self._files[facts.reason] += facts.files
            examples = self._examples.setdefault(facts.reason, [])
            prefix = f"{escaped(below)}/" if below else ""
            examples += [prefix + path for path in facts.examples][: MOST_EXAMPLES - len(examples)]

    def discard(self, reason: str, path: str) -> None:
        """Remove one file of this reason from the count, because it is used after all."""
        self._files[reason] -= 1
        self._files += Counter()  # drops reasons without a file
        examples = [example for example in self._examples.get(reason, []) if example != escaped(path)]
        if self._files[reason]:
            self._examples[reason] = examples
        else:
            self._examples.pop(reason, None)

    @property
    def files(self) -> int:
        """Files left out for any reason."""
        return self._files.total()

    def count(self, reason: str) -> int:
        """Files left out for one reason."""
        return self._files[reason]

    @property
    def text(self) -> str:
        """All reasons, such as ``3 hidden (.a, .b, ...); 1 not an image (c.txt)``; empty if nothing is left out."""
        return "; ".join(map(reason_text, self.facts()))

    def facts(self) -> list[LeftOutFacts]:
        """The files of each reason, the most frequent reason first."""
        return [
            LeftOutFacts(reason=reason, files=files, examples=list(self._examples[reason]))
            for reason, files in sorted(self._files.items(), key=lambda item: (-item[1], item[0]))
        ]


def reason_text(facts: LeftOutFacts) -> str:
    """One reason with its number of files and a few of them: ``3 hidden (.a, .b, ...)``."""
    examples = ", ".join(facts.examples[:_EXAMPLES_IN_TEXT])
    more = ", ..." if facts.files > _EXAMPLES_IN_TEXT else ""
    return f"{facts.files:,} {facts.reason}" + (f" ({examples}{more})" if examples else "")


def name_few(names: Sequence[str], max_names: int = 4) -> str:
    """The first few names and how many more there are."""
    first = ", ".join(escaped(name) for name in names[:max_names])
    return f"{first} and {len(names) - max_names} more" if len(names) > max_names else first
