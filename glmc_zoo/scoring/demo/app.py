"""The page of the demo, made with Gradio, and the server that shows it. Nothing leaves the machine unless asked for."""

import importlib.util
import os
import tempfile
import threading
from types import TracebackType
from typing import Any

from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES
from glmc_zoo.errors import UserError, missing_packages
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.scoring.demo.answering import Answer, DemoModel
from glmc_zoo.scoring.demo.html import answer_html, heading_html, similar_html, style
from glmc_zoo.screen import say
from glmc_zoo.text import counted, printable

_UPLOAD_AGE, _UPLOAD_CHECKS = 3600, 60
"""Seconds after which an uploaded image is deleted, and seconds between the checks of their age."""
_LARGEST_UPLOAD = "64mb"
_SLIDER = "Not sure below (%)"


class Demo:
    """A demo that is being shown; `close` ends it, and so does the end of a ``with`` block.

    Attributes:
        url: Address of the page on this machine.
        share_url: Its public address, where one was asked for.
    """

    def __init__(self, blocks: Any, url: str, share_url: str | None, uploads: "_Uploads") -> None:
        self._blocks, self.url, self.share_url, self._uploads = blocks, url, share_url, uploads

    def wait(self) -> None:
        """Wait until Ctrl-C, which is raised once the demo is closed."""
        try:
            while True:
                threading.Event().wait(1)  # without a limit, Ctrl-C is not seen on every system
        finally:
            self.close()

    def close(self) -> None:
        """Stop the server; uploaded images are deleted."""
        self._blocks.close(verbose=False)
        self._uploads.remove()

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Uploads:
    """The folder for uploaded images. Gradio reads its path from an environment variable."""

    _NAME = "GRADIO_TEMP_DIR"

    def __init__(self) -> None:
        self._previous = os.environ.get(self._NAME)
        self._folder = tempfile.TemporaryDirectory(
            prefix="glmc_zoo_demo_", dir=self._previous, ignore_cleanup_errors=True
        )
        os.environ[self._NAME] = self._folder.name

    def remove(self) -> None:
        """Delete the folder, and leave the environment as it was."""
        self._folder.cleanup()
        if self._previous is None:
            os.environ.pop(self._NAME, None)
        else:
            os.environ[self._NAME] = self._previous


class DemoRun:
    """A demo, step by step; `recipes/demo.py` shows its use.

    Raises:
        UserError: Gradio is missing, or model, class frequencies or training images do not fit.
    """

    def __init__(self, options: DemoOptions) -> None:
        if importlib.util.find_spec("gradio") is None:
            raise missing_packages("A demo", ["gradio"], extra="demo")
        self.options = options
        self.model = DemoModel(options)

    def describe(self) -> None:
        """Print what is shown."""
        model = self.model
        _, height, width = model.classifier.data_config["input_size"]
        rare = (
            "no training images"
            if model.rare_images is None
            else f"{counted(len(model.rare_images), 'training image')} of rare classes"
        )
        say(
            printable(f"{self.options.model}: {counted(len(model.labels), 'class')}, {height} x {width} pixels; {rare}")
        )

    def launch(self) -> Demo:
        """Start the server and print its address.

        Raises:
            UserError: The address cannot be listened on, or no public address was given.
        """
        _load_gradio()  # before `_Uploads`, because on import Gradio makes a folder of its own in GRADIO_TEMP_DIR
        uploads, (host, port) = _Uploads(), (self.options.host, self.options.port)
        try:
            blocks = demo_page(self.model, self.options.min_probability)
            _, url, share_url = blocks.launch(
                server_name=host,
                server_port=port,
                share=self.options.share,
                prevent_thread_lock=True,
                quiet=True,
                css=style(),
                theme=_theme(),
                footer_links=[],
                max_file_size=_LARGEST_UPLOAD,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
            )
        except OSError as error:
            uploads.remove()
            fix = "give another host=, or leave it out" if port is None else "give another port=, or leave it out"
            address = f"host={host!r}" if port is None else f"port={port} of {host}"
            raise UserError(f"{address} cannot be listened on ({_first_line(error)}): {fix}.") from error
        demo = Demo(blocks, url.rstrip("/"), share_url, uploads)
        if self.options.share and not share_url:
            demo.close()
            raise UserError(
                "share=True got no public address, since the servers of Gradio cannot be reached: leave it out."
            )
        print("\n".join([f"demo  {demo.url}", *([f"share {share_url}"] if share_url else [])]), flush=True)
        return demo


def open_demo(options: DemoOptions) -> Demo:
    """Run a whole demo up to its address: open, describe, start; see `DemoRun`."""
    run = DemoRun(options)
    run.describe()
    return run.launch()


def demo_page(model: DemoModel, min_probability: float) -> Any:
    """The page as Gradio's ``Blocks``, ready to be launched."""
    gradio = _load_gradio()

    def classify(path: str | None, percent: float) -> tuple[Answer | None, str, str]:
        answer = None if path is None else model.answer(path)
        return answer, answer_html(answer, percent / 100), similar_html(answer, model)

    def update_answer(answer: Answer | None, percent: float) -> str:
        return answer_html(answer, percent / 100)

    title = f"{model.name}, a demo of glmc_zoo"
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(_UPLOAD_CHECKS, _UPLOAD_AGE)) as blocks:
        gradio.HTML(heading_html(model))
        current_answer = gradio.State(None)
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                upload = gradio.File(
                    label="Image", file_types=["image", *sorted(IMAGE_SUFFIXES)], height=160, elem_id="glmc-upload"
                )
                slider = gradio.Slider(
                    0, 99, value=round(100 * min_probability), step=1, label=_SLIDER, elem_id="glmc-threshold"
                )
                if model.sample is not None:
                    sample = gradio.Button("Classify the sample image", elem_id="glmc-sample")
            with gradio.Column(scale=2, min_width=280):
                answer = gradio.HTML(answer_html(None, min_probability))
                similar = gradio.HTML(similar_html(None, model))
        outputs, hidden = [current_answer, answer, similar], {"api_visibility": "private"}
        upload.change(classify, [upload, slider], outputs, **hidden)
        slider.change(
            update_answer,
            [current_answer, slider],
            answer,
            show_progress="hidden",
            trigger_mode="always_last",
            **hidden,
        )
        if model.sample is not None:
            sample.click(lambda percent: classify(str(model.sample), percent), slider, outputs, **hidden)
    return blocks


def _load_gradio() -> Any:
    """The package, told not to send statistics."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when the package is imported
    import gradio

    return gradio


def _theme() -> Any:
    """Gradio's theme with system fonts, so that no font is downloaded; its own semibold font lacks letters."""
    return _load_gradio().themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
