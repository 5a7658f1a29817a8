"""What an exported folder shows beside its model: plots, a sample image, and the card, made from its results."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glmc_zoo.files import remove, replace_file
from glmc_zoo.hub.export.card import render_card
from glmc_zoo.hub.folder import CARD_FILE, PLOTS_FOLDER, RESULTS_FILE, SAMPLE_FILE
from glmc_zoo.hub.plain_files import read_regular_file
from glmc_zoo.results import RunResults


def decorate_export(
    folder: Path,
    plots: Path,
    names: Sequence[str],
    *,
    warnings: Sequence[str] = (),
    repo_id: str | None = None,
    sample: tuple[Path, str] | None = None,
) -> RunResults:
    """Put plots, sample image and card into an exported folder; weights and scores are not touched.

    The card is rendered before anything is changed, so that a failure leaves the folder as it is.

    Args:
        folder: As `export_run` wrote it.
        plots: Folder of the plots.
        names: Those that belong to the results; what else lies there is not published.
        warnings: What could not be made, for the results.
        repo_id: ``ORG/NAME`` on the Hub, for the snippets of the card.
        sample: The sample image and its class; without it an older one is removed.

    Raises:
        UserError: The folder has no results, or the card cannot be rendered from them.
        OSError: A file cannot be read or written.
    """
    results = RunResults.load(folder / RESULTS_FILE)
    contents = {name: (plots / name).read_bytes() for name in names}
    path, label = sample or (None, None)
    image = None if path is None else read_regular_file(path, path.parent)
    results = replace(results, plots=sorted(contents), warnings=list(warnings), sample_image=label)
    card = render_card(results, repo_id=repo_id)
    staging = folder.with_name(f".{folder.name}.plots.new")
    remove(staging)
    staging.mkdir()
    try:
        for name, content in contents.items():
            (staging / name).write_bytes(content)
        remove(folder / PLOTS_FOLDER)
        if contents:
            staging.rename(folder / PLOTS_FOLDER)
    finally:
        remove(staging)
    remove(folder / SAMPLE_FILE)
    if image is not None:
        (folder / SAMPLE_FILE).write_bytes(image)
    results.save(folder / RESULTS_FILE)
    replace_file(folder / CARD_FILE, lambda file: file.write(card))
    return results
