"""The demo in a browser: a real upload, the answer of a prediction, the threshold, and what cannot be read."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from browser import browser_page, needs_chromium
from interruptible import interruptible
from waiting import PATIENCE

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.scoring.demo.answering import DemoModel
from glmc_zoo.scoring.demo.app import demo_page, open_demo

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="it needs gradio (in the extra demo)"
)
UPLOAD = "#glmc-upload input[type=file]"
SLIDER = "#glmc-threshold input[type=range]"


# ------------------------------------------------------------------------------------------------ the answer
def predicted(model: Path, image: Path, **options: Any) -> list[tuple[str, float]]:
    (one,) = glmc_zoo.predict(model=model, images=str(image), output=None, **options)
    return list(zip(one.labels, one.probabilities, strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"classes": ["ant", "cat"]}, {"prior": "prior.csv"}, {"image_size": 48}], ids=str
)
def test_the_answer_is_that_of_a_prediction(
    options: dict[str, Any], shown_run: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prior.csv").write_text("class,count\nant,1\nbee,1\ncat,98\n")
    model = DemoModel(DemoOptions(model=str(shown_run / "model"), **options))
    data = glmc_zoo.load_data(animals, val_fraction=0.2)
    counts = dict(zip(data.class_names, data.class_counts, strict=True))
    for image in sorted(animals.glob("test/*/000.png")):
        answer = model.answer(image)
        expected = predicted(shown_run / "model", image, **options)
        assert [one.label for one in answer.classes] == [label for label, _ in expected]
        assert [one.probability for one in answer.classes] == pytest.approx([p for _, p in expected], abs=1e-6)
        assert all(one.count == counts[one.label] for one in answer.classes)


# ------------------------------------------------------------------------------------------------ refusals
def test_a_demo_needs_gradio(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "gradio" else real(name, *more)
    )
    with pytest.raises(UserError, match=r"needs gradio, which is not installed: pip install 'glmc_zoo\[demo\]'"):
        glmc_zoo.demo(model=model)


@needs_gradio
def test_a_port_that_is_taken_is_named(model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port={port} of 127.0.0.1 cannot be listened on .*give another port="):
            open_demo(DemoOptions(model=str(model), port=port))


@needs_chromium
@needs_gradio
def test_uploads_are_deleted_at_the_end(model: Path, animals: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import gradio  # noqa: F401  # its own empty folder is made where the environment says when it is imported

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with glmc_zoo.demo(model=model) as demo, browser_page() as (page, _):
        page.goto(demo.url)
        uploaded(page, animals / "test" / "bee" / "003.png")
        assert [path.name for path in tmp_path.rglob("*.png")] == ["003.png"]
    assert list(tmp_path.iterdir()) == [] and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)


@needs_gradio
def test_uploads_are_deleted_after_an_hour(model: Path) -> None:
    seconds_between_checks, age = demo_page(DemoModel(DemoOptions(model=str(model))), 0.5).delete_cache
    assert age == 3600 and seconds_between_checks <= 60  # a file waits for the next check


@needs_gradio
@pytest.mark.processes
def test_the_command_prints_the_address_and_ends_on_ctrl_c(lab: Any, model: Path, tmp_path: Path) -> None:
    with interruptible([sys.executable, "-m", "glmc_zoo", "demo", "--model", str(model)], tmp_path, lab) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[0].endswith("3 classes, 32 x 32 pixels; no training images\n"), process.stderr.read()
        assert re.fullmatch(r"demo  http://127\.0\.0\.1:\d+\n", lines[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130
        assert "Traceback" not in process.stderr.read()


# ------------------------------------------------------------------------------------------------ in the browser
def uploaded(page: Any, image: Path) -> list[tuple[str, str]]:
    """Class and probability of each row that the page shows after an upload."""
    page.wait_for_selector("#glmc-answer")
    page.set_input_files(UPLOAD, str(image))
    page.wait_for_selector(f"#glmc-answer img[alt*='{image.name}']")
    rows = page.locator("#glmc-answer tbody tr").all()
    return [(row.locator("th").inner_text().strip(), row.locator("td").first.inner_text()) for row in rows]


@needs_chromium
@needs_gradio
def test_an_upload_in_the_browser(page_of_run: Any, shown_run: Path, animals: Path, tmp_path: Path) -> None:
    image, requests = animals / "test" / "bee" / "003.png", list[str]()
    with browser_page() as (page, console):
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_of_run.url)
        page.wait_for_selector("#glmc-answer")

        # ---------------------------------------------------------------- the answer, and similar training images
        shown = uploaded(page, image)
        expected = predicted(shown_run / "model", image)
        assert shown == [(label, f"{100 * p:.1f}\N{NO-BREAK SPACE}%") for label, p in expected]
        page.locator("img").nth(6).wait_for(state="attached")  # the parts of the page are not drawn at the same time
        page.wait_for_function("[...document.images].every(image => image.complete)")
        alts = [one.get_attribute("alt") for one in page.locator("img").all()]
        assert len(alts) == 7 and all(alts)
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")

        # ---------------------------------------------------------------- the threshold, by the keyboard
        heading = page.locator("#glmc-answer h2")
        page.locator(SLIDER).focus()
        page.keyboard.press("Home")
        page.wait_for_function("document.querySelector('#glmc-answer h2').textContent != 'Not sure'")
        assert heading.inner_text() == expected[0][0]
        page.keyboard.press("End")
        page.wait_for_function("document.querySelector('#glmc-answer h2').textContent == 'Not sure'")
        text = page.locator("#glmc-answer").inner_text()
        assert (
            f"Most probable is {expected[0][0]} with {shown[0][1]}, below the threshold of 99\N{NO-BREAK SPACE}%"
            in text
        )
        assert shown[-1] in [(label, f"{100 * p:.1f}\N{NO-BREAK SPACE}%") for label, p in expected]

        # ---------------------------------------------------------------- what cannot be read, then the sample image
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(b"\xff\xd8\xff\xe0 nothing follows")
        page.reload()
        page.wait_for_selector("#glmc-answer")
        page.set_input_files(UPLOAD, str(broken))
        alert = page.wait_for_selector("#glmc-answer [role=alert]").inner_text()
        assert re.fullmatch(r"broken\.jpg cannot be read: [^\n]+\. Give another image\.", alert)
        page.click("#glmc-sample")
        page.wait_for_selector("#glmc-answer img[alt*='sample.jpg']")
        assert (
            page.locator("#glmc-answer tbody th").first.inner_text().strip()
            == (predicted(shown_run / "model", shown_run / "model" / "sample.jpg")[0][0])
        )
    assert requests and all(url.startswith((page_of_run.url, "data:", "blob:")) for url in requests)
    assert not [line for line in console if "rror" in line]


@needs_chromium
@needs_gradio
def test_everything_is_reached_by_the_keyboard(page_of_run: Any) -> None:
    with browser_page() as (page, _):
        page.goto(page_of_run.url)
        for part in (UPLOAD, SLIDER, "#glmc-sample"):
            page.wait_for_selector(part, state="attached")
        reached = set()
        for _ in range(8):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[id^=glmc-]')?.id"))
        assert {"glmc-upload", "glmc-threshold", "glmc-sample"} <= reached


@needs_chromium
@needs_gradio
def test_a_phone_shows_it_without_scrolling_sideways(page_of_run: Any, animals: Path) -> None:
    with browser_page() as (page, _):
        page.set_viewport_size({"width": 390, "height": 800})
        page.emulate_media(color_scheme="dark")
        page.goto(page_of_run.url)
        uploaded(page, animals / "test" / "ant" / "000.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        table = "document.querySelector('#glmc-answer table').getBoundingClientRect().right"
        assert page.evaluate(f"{table} <= document.querySelector('#glmc-answer').getBoundingClientRect().right + 1")
        dark = page.evaluate("getComputedStyle(document.querySelector('#glmc-answer h2')).color")
        assert min(map(int, re.findall(r"\d+", dark)[:3])) > 200  # light letters
