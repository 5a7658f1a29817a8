"""The published models, as their folders in ``hub_cards/`` describe them."""

from dataclasses import asdict, dataclass
from pathlib import Path

from glmc_zoo.hub.folder import RESULTS_FILE, cards_folder
from glmc_zoo.results import RunResults


@dataclass(frozen=True)
class PublishedModel:
    """One published model: the name of its Hub repository, and its results."""

    name: str
    backbone: str
    data: str
    method: str
    parameters: int
    scores: dict[str, float | None]
    """Test scores by the names of `LongTailMetrics`, fractions of 1; empty for a converted checkpoint."""
    folder: Path


def list_models(folder: str | Path | None = None) -> list[PublishedModel]:
    """Published models with their scores, by name; `glmc_zoo.create_model` builds one by its name.

    ``folder`` holds a folder for each model; by default these are the models that come with the package. A damaged
    ``results.json`` raises a `UserError`.
    """
    models = []
    for path in sorted((Path(folder) if folder is not None else cards_folder()).glob(f"*/{RESULTS_FILE}")):
        results = RunResults.load(path)
        models.append(
            PublishedModel(
                name=path.parent.name,
                backbone=results.model.backbone,
                data=results.data.name,
                method=results.method,
                parameters=results.model.parameters,
                scores=asdict(results.test) if results.test else {},
                folder=path.parent,
            )
        )
    return models


def published_names() -> list[str]:
    """Names of the published models."""
    return sorted(path.parent.name for path in cards_folder().glob(f"*/{RESULTS_FILE}"))
