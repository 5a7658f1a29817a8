"""The demo as a Space of the Hub: the files of one, in a folder or pushed."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from glmc_zoo.data.reading.spread import evenly_spaced
from glmc_zoo.data.thumbnails import make_thumbnail
from glmc_zoo.errors import UserError
from glmc_zoo.files import check_folder, csv_text
from glmc_zoo.hub import ModelSource, PushResult, open_model, push_command, push_space
from glmc_zoo.hub.folder import CARD_FILE, CONFIG_FILE, RESULTS_FILE, SAMPLE_FILE, WEIGHTS_FILE
from glmc_zoo.hub.plain_files import exported_files
from glmc_zoo.hub.push.checks import check_repo_id
from glmc_zoo.hub.push.remote import APP_FILE, SPACE_IMAGES, SPACE_MODEL
from glmc_zoo.options.push import PushRequest, SpaceOptions
from glmc_zoo.scoring.demo.rare_images import rare_training_data
from glmc_zoo.text import markdown

LIST_FILE = "images.csv"
_REQUIREMENTS = "requirements.txt"
_OLDEST_GRADIO = "6.0.0"  # where gradio is not installed here
_PINNED = ("torch", "timm", "huggingface_hub")
_SIDE = 160
_SHOWN_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, RESULTS_FILE, SAMPLE_FILE})

Files = dict[str, bytes | Path]


@dataclass(frozen=True)
class Space:
    """The files of a Space by their path in it, checked before anything is written or sent."""

    files: Files
    model: str
    """The model that it shows, as the user named it."""

    def write(self, folder: Path) -> None:
        """Write the files into a folder, which is created if it is missing."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())

    def push(self, request: PushRequest) -> PushResult:
        """Push the files; errors are those of `push_space`."""
        assert request.space_target is not None
        extra: dict[str, Any] = {"space": request.space.space}
        if request.space.space_images:
            extra["space_images"] = request.space.space_images
        target = request.target or request.space_target
        retry_command = push_command(self.model, target, extra, repo=request.target is not None)
        return push_space(self.files, request.space_target, model=self.model, retry_command=retry_command)


def make_space(request: PushRequest) -> Space:
    """The Space of a push.

    The model is loaded from its repository where it is pushed to one or lies on the Hub already; else its files are in
    the Space.

    Raises:
        UserError: The model cannot be read or needs a plug-in, or its training images are asked for and cannot be
            found, or ``space_folder`` holds something already.
    """
    options, name = request.space, request.source.model
    if options.space_folder is not None:
        check_folder(Path(options.space_folder), "give another one", option="space_folder")
    if options.space is not None:
        check_repo_id(options.space, "space")
    source = open_model(name)
    if source.plugin is not None:
        raise UserError(
            f"A Space cannot show {name}, because it lacks the file {source.plugin}, which registers the architecture "
            "with timm: leave space= and space_folder= out."
        )
    files, repo_id, model_argument = _model(source, request)
    images = _images(options, source) if options.space_images else {}
    title = _title(source)
    app = (
        _environment()
        .get_template("space_app.py.jinja")
        .render(
            local=bool(files or images),
            model=model_argument,
            images=f'HERE / "{SPACE_IMAGES}" / "{LIST_FILE}"' if images else "",
        )
    )
    card = _card(source, title=title, repo_id=repo_id, images=max(len(images) - 1, 0))
    files |= {
        APP_FILE: app.encode(),
        _REQUIREMENTS: _requirements().encode(),
        CARD_FILE: card.encode(),
    }
    return Space({**files, **images}, name)


def _model(source: ModelSource, request: PushRequest) -> tuple[Files, str | None, str]:
    """The files of the model in the Space, its repository on the Hub, and what ``app.py`` loads, as Python."""
    if request.target is not None:
        check_repo_id(request.target.repo)
        return {}, request.target.repo, repr(f"hf-hub:{request.target.repo}")
    if source.kind == "hub":
        repo_id = source.name.partition(":")[2].partition("@")[0]
        return {}, repo_id, repr(source.name)
    if source.kind != "folder" or source.folder is None:
        return {}, None, repr(source.name)
    files = {name: content for name, content in exported_files(source.folder).items() if name in _SHOWN_FILES}
    return {f"{SPACE_MODEL}/{name}": content for name, content in files.items()}, None, f'HERE / "{SPACE_MODEL}"'


def _images(options: SpaceOptions, source: ModelSource) -> Files:
    """Small training images of each rare class, and the list with their classes."""
    rare = rare_training_data(source)
    rows, files = [("path", "label")], Files()
    for label in np.unique(rare.labels).tolist():
        members = rare.positions[rare.labels == label]
        for position in members[evenly_spaced(len(members), options.space_images)].tolist():
            thumbnail = make_thumbnail(rare.split, position, _SIDE)
            if thumbnail.encoded is None:
                continue
            name = f"{len(files):04d}.{'png' if thumbnail.media_type == 'image/png' else 'jpg'}"
            files[f"{SPACE_IMAGES}/{name}"] = thumbnail.encoded
            rows.append((name, rare.split.class_names[label]))
    if len({label for _, label in rows[1:]}) < 2:
        raise UserError(
            f"space_images={options.space_images} needs readable training images of two rare classes at least: leave "
            "it out."
        )
    return {**files, f"{SPACE_IMAGES}/{LIST_FILE}": csv_text(rows).encode()}


def _title(source: ModelSource) -> str:
    results = source.results
    return Path(source.name).name if results is None else results.model.name


def _card(source: ModelSource, *, title: str, repo_id: str | None, images: int) -> str:
    license = source.config.get("license") if source.results is None else source.results.model.license
    front_matter: dict[str, Any] = {
        "title": title,
        "sdk": "gradio",
        "sdk_version": _installed_version("gradio") or _OLDEST_GRADIO,
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "app_file": APP_FILE,
        "pinned": False,
        "tags": ["glmc_zoo", "image-classification"],
    }
    if repo_id is not None:
        front_matter["models"] = [repo_id]
    if license and license != "unknown":
        front_matter["license"] = str(license)
    model_link = markdown(title) if repo_id is None else f"[{markdown(title)}](https://huggingface.co/{repo_id})"
    names = source.class_names or (source.results.class_names if source.results else None)
    text: str = (
        _environment()
        .get_template("space_card.md.jinja")
        .render(
            front_matter=yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True),
            title=markdown(title),
            shown=model_link,
            classes=source.config.get("num_classes") if names is None else len(names),
            images=images,
            images_folder=SPACE_IMAGES,
            app_file=APP_FILE,
        )
    )
    return text


def _requirements() -> str:
    """The requirements of the Space: this package, and the installed versions of the packages in `_PINNED`."""
    from glmc_zoo import __version__

    pinned = [f"{name}=={number}" for name in _PINNED if (number := _installed_version(name))]
    return "\n".join([f"glmc_zoo[demo]=={__version__}", *pinned]) + "\n"


def _installed_version(name: str) -> str | None:
    """The installed version of a package without a suffix such as ``+cpu``; ``None`` if it is not installed."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def _environment() -> jinja2.Environment:
    return jinja2.Environment(  # Python and Markdown; what others named is escaped where it is put in
        loader=jinja2.PackageLoader("glmc_zoo.scoring.demo"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
