"""The studio's page in a real browser, used as by a person."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from studio_pages import CATALOGUE, LIVE, LIVE_CATALOGUE, MAX_UPLOAD, studio
from toon_fakes import FakeToonifier, room
from video_files import STEADY, write_video

from engines.contract.attributes import AttributeRange
from serving.faces.images import read_picture, write_picture
from serving.random_faces import no_mapping
from serving.studio.catalogue import Catalogue
from serving.studio.encoded_faces import EncodedFaces
from serving.studio.kept_faces import KeptFaces
from serving.video.reading import VideoReader

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SECONDS = 60
"""Seconds to wait for the page to reach a state; it usually takes a tenth of a second."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class Page:
    """A page of the studio, whose elements are addressed by CSS selectors."""

    def __init__(self, chrome: Chrome, port: int, *, choices: int = 2) -> None:
        self.chrome = chrome
        chrome.get(f"http://127.0.0.1:{port}/")
        self.until(lambda: self.run("return document.querySelectorAll('.choice').length") == choices)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    def until(self, true: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.chrome, SECONDS, 0.05).until(lambda _: true(), message=self.status)

    def find(self, selector: str) -> Any:
        return self.chrome.find_element("css selector", selector)

    def choose(self, path: Path) -> None:
        self.find("#file").send_keys(str(path))

    def set(self, selector: str, value: object) -> None:
        """Set a control's value in one step and send the events that a person's action would."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.run(script, self.find(selector), value)

    @property
    def sliders(self) -> dict[str, list[str]]:
        """Return the value and the text of each attribute's slider."""
        script = """return Object.fromEntries([...document.querySelectorAll('#attributes input')].map(
            (slider) => [slider.dataset.name, [slider.value, slider.parentElement.querySelector('output').value]]));"""
        return dict(self.run(script))

    @property
    def blend(self) -> tuple[str, list[float]]:
        """Return the text of the slider over r_swap, and the shares."""
        script = """return [document.querySelector('#r-swap + output').value,
            [...document.querySelectorAll('#shares input')].map((bar) => bar.valueAsNumber)]"""
        text, shares = self.run(script)
        return text, shares

    @property
    def status(self) -> str:
        return str(self.find("#status").text)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.status)

    @property
    def colour(self) -> list[int]:
        """Return the RGB value in the middle of the toonified picture."""
        script = """const canvas = document.getElementById('after-picture');
            const [x, y] = [canvas.width >> 1, canvas.height >> 1];
            return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);"""
        return [int(value) for value in self.run(script)]

    def downloaded(self, name: str, button: str = "#download") -> Path:
        path = Path(self.chrome.downloads) / name  # type: ignore[attr-defined]  # set where the browser is started
        self.find(button).click()
        self.until(path.is_file)
        return path

    def drag(self, selector: str, *values: float) -> None:
        """Move a slider over some values without a pause, and let it go at the last one."""
        script = """const [slider, values] = arguments;
            for (const value of values) {
              slider.value = value;
              slider.dispatchEvent(new Event('input', {bubbles: true}));
            }"""
        self.run(script, self.find(selector), values)

    def let_go(self, selector: str) -> None:
        self.run("arguments[0].dispatchEvent(new Event('change', {bubbles: true}))", self.find(selector))


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    folder = tmp_path_factory.mktemp("chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        browser.downloads = folder
        yield browser


@pytest.fixture
def toonifier() -> FakeToonifier:
    return FakeToonifier()


@pytest.fixture
def page(chrome: Chrome, toonifier: FakeToonifier) -> Iterator[Page]:
    with studio(toonifier) as port:
        yield Page(chrome, port)
        chrome.get("about:blank")
    # The log has errors of scripts and of the page's policy, and also refusals, which a test may provoke.
    faults = [entry for entry in chrome.get_log("browser") if entry["source"] not in ("network", "rendering")]
    assert faults == []


@pytest.fixture
def live_page(chrome: Chrome, toonifier: FakeToonifier) -> Iterator[Page]:
    """A page whose second model is live, and chosen."""
    with studio(toonifier, LIVE_CATALOGUE) as port:
        page = Page(chrome, port, choices=3)
        page.find("[name=model][value=live]").click()
        yield page
        chrome.get("about:blank")
    assert [entry for entry in chrome.get_log("browser") if entry["source"] not in ("network", "rendering")] == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_picture(tmp_path / "me.png", room())
    return tmp_path / "me.png"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "me.mp4", STEADY[:12])


def test_sliders_begin_at_what_the_face_shows(page: Page, photo: Path, toonifier: FakeToonifier) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    page.choose(photo)
    page.until(lambda: page.sliders == {"age": ["0.25", "0.25, kept"], "smile": ["1", "1.00, kept"]})
    page.find("[name=editing]").click()
    page.set("[data-name=age]", 0.8)
    page.until(lambda: toonifier.styles and (toonifier.styles[-1].attributes or {}) == {"age": 0.8})
    assert page.sliders == {"age": ["0.8", "0.80"], "smile": ["1", "1.00, kept"]}
    page.find("[type=reset]").click()
    page.until(lambda: page.sliders["age"] == ["0.25", "0.25, kept"])
    page.find("#close").click()
    page.until(lambda: page.sliders["age"] == ["0.5", "kept"])


def test_a_picture_is_toonified_and_follows_the_controls(page: Page, photo: Path) -> None:
    page.choose(photo)
    page.says("Done")
    assert page.colour[1:] == [0, 0]
    page.find("[name=editing]").click()
    page.set("#seed", 200)
    page.until(lambda: page.colour[1] == 200)
    page.says("Done")
    picture = read_picture(page.downloaded("me_toon.png"))
    assert picture.shape == room().shape
    assert picture[120, 160].tolist() == page.colour
    page.find("[type=reset]").click()
    page.until(lambda: page.colour[1] == 0)


def test_an_attribute_whose_slider_was_not_moved_is_kept(page: Page, photo: Path, toonifier: FakeToonifier) -> None:
    page.choose(photo)
    page.says("Done")
    page.find("[name=editing]").click()
    page.until(lambda: toonifier.styles[-1].attributes == {})
    assert page.find("#attributes label:nth-child(2) output").text == "kept"
    page.set("#attributes [data-name=age]", 0.75)
    page.until(lambda: toonifier.styles[-1].attributes == {"age": 0.75})
    page.set("#attributes [data-name=smile]", 1)
    page.until(lambda: toonifier.styles[-1].attributes == {"age": 0.75, "smile": 1})
    page.find("[type=reset]").click()
    page.until(lambda: toonifier.styles[-1].attributes is None)
    page.find("[name=editing]").click()
    page.until(lambda: toonifier.styles[-1].attributes == {})


def test_sliders_of_directions_have_their_ranges_and_begin_where_nothing_changes(
    chrome: Chrome, photo: Path, toonifier: FakeToonifier
) -> None:
    ranges = {"age": AttributeRange(-2.0, 2.0, 0.0), "smile": AttributeRange(-5.0, 5.0, 0.0)}
    with studio(toonifier, replace(CATALOGUE, keeps=False, ranges=ranges)) as port:
        page = Page(chrome, port)
        slider = page.find("#attributes [data-name=smile]")
        assert [slider.get_attribute(name) for name in ("min", "max", "value")] == ["-5", "5", "0"]
        page.choose(photo)
        page.says("Done")
        page.find("[name=editing]").click()
        page.set("#attributes [data-name=smile]", -2.5)
        page.until(lambda: toonifier.styles[-1].attributes == {"age": 0, "smile": -2.5})
        assert page.sliders == {"age": ["0", "0.00"], "smile": ["-2.5", "-2.50"]}
        page.find("[type=reset]").click()
        page.until(lambda: page.sliders["smile"] == ["0", "0.00"])
        chrome.get("about:blank")


def test_a_random_face_is_drawn_edited_and_followed_by_another(page: Page, toonifier: FakeToonifier) -> None:
    toonifier.attributes = lambda faces: np.float32([[0.25, 1]] * len(faces))
    page.find("#random").click()
    page.says("Done")
    assert page.find("[name=psi]").get_attribute("value") == "0.7"
    assert page.colour[1:] == [0, 0]
    page.until(lambda: page.sliders == {"age": ["0.25", "0.25, kept"], "smile": ["1", "1.00, kept"]})
    page.find("[name=editing]").click()
    page.set("#seed", 200)
    page.until(lambda: page.colour[1] == 200)
    first = page.find("#download").get_attribute("download")
    page.find("#another").click()
    page.until(lambda: page.find("#download").get_attribute("download") != first)
    page.says("Done")
    name = page.find("#download").get_attribute("download")
    seed = int(name.removeprefix("face_").removesuffix("_toon.png"))
    picture = read_picture(page.downloaded(name))
    assert picture[0, 0].tolist() == page.colour == [seed % 256, 200, 0]
    page.find("#close").click()
    assert page.find("[name=psi]").get_attribute("value") == "1"
    assert page.find("#random").is_displayed()


def test_a_file_of_codes_is_drawn_and_edited(page: Page, toonifier: FakeToonifier, tmp_path: Path) -> None:
    np.savez(tmp_path / "projected.npz", w=np.full((1, 14, 4), 0.6, np.float32))
    page.choose(tmp_path / "projected.npz")
    page.says("Done")
    assert page.colour == [153, 0, 0]
    assert not page.find("#another").is_displayed()
    page.find("[name=editing]").click()
    page.set("#seed", 200)
    page.until(lambda: page.colour == [153, 200, 0])
    assert page.find("#download").get_attribute("download") == "projected_toon.png"


def test_a_random_face_of_a_generator_that_draws_none_is_refused(page: Page, toonifier: FakeToonifier) -> None:
    def refuse() -> None:
        raise no_mapping("model 'toonify'")

    toonifier.before = refuse
    page.find("#random").click()
    page.says("model 'toonify': got a generator without a mapping network")
    assert not page.find("#download").is_displayed()


def test_a_picture_is_dropped_on_the_page(page: Page, photo: Path) -> None:
    page.run(
        """const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt());
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], 'dropped.png', {type: 'image/png'}));
        dispatchEvent(new DragEvent('drop', {dataTransfer, cancelable: true}));""",
        base64.b64encode(photo.read_bytes()).decode(),
    )
    page.says("Done")
    assert page.find("#download").get_attribute("download") == "dropped_toon.png"


def test_before_and_after_are_compared_by_a_slider_or_side_by_side(page: Page, photo: Path) -> None:
    def widths() -> list[float]:
        script = "return [...document.querySelectorAll('figure')].map((f) => f.getBoundingClientRect().width)"
        return [float(width) for width in page.run(script)]

    page.choose(photo)
    page.says("Done")
    before, after = widths()
    assert before == after
    page.find("#split").send_keys("\ue010")  # the key End
    assert page.run("return getComputedStyle(document.querySelector('.after')).clipPath") == "inset(0px 0px 0px 100%)"
    page.find("#view").click()
    assert widths()[0] < before
    assert not page.find("#split").is_displayed()
    page.find("#view").click()
    page.find("[name=look]").send_keys("The largest face alone")
    page.until(lambda: page.run("return document.getElementById('after-picture').width") == 64)
    assert widths()[0] < before


def test_what_is_refused_is_said(page: Page, tmp_path: Path) -> None:
    write_picture(tmp_path / "high.png", room(width=100))
    page.choose(tmp_path / "high.png")
    page.says("picture: got no face, expected at least one")
    assert not page.find("#download").is_displayed()
    (tmp_path / "large.png").write_bytes(bytes(MAX_UPLOAD + 1))
    page.choose(tmp_path / "large.png")
    page.says("large.png has 2 MiB; the studio takes 1 MiB at most.")


def test_a_clip_is_toonified_played_and_downloaded(page: Page, clip: Path) -> None:
    page.choose(clip)
    page.says("Choose the settings")
    page.find("#start").click()
    page.says("Done.")
    for video in ("before-video", "after-video"):
        ended = (
            "const video = document.getElementById(arguments[0]); return video.currentTime > 0.3 && video.videoWidth"
        )
        assert page.until(lambda: page.run(ended, video)) == 96  # noqa: B023
    with VideoReader(page.downloaded("me_toon.mp4")) as reader:
        assert len([*reader]) == 12
    page.set("#seek", 0)
    page.find("#play").click()
    page.until(lambda: page.find("#play").text == "Play")


def test_a_clip_is_cancelled_and_begun_again(page: Page, clip: Path, toonifier: FakeToonifier) -> None:
    go_on = Event()
    toonifier.before = lambda: go_on.wait(SECONDS)
    page.choose(clip)
    page.find("#start").click()
    page.says("Starting")
    page.find("#cancel").click()
    page.says("Cancelled.")
    go_on.set()
    page.find("#start").click()
    page.says("Done.")


def test_a_picture_that_takes_long_is_cancelled(page: Page, photo: Path, toonifier: FakeToonifier) -> None:
    go_on = Event()
    toonifier.before = lambda: go_on.wait(SECONDS)
    page.choose(photo)
    page.until(lambda: page.find("#cancel").is_displayed())
    page.find("#cancel").click()
    page.says("Cancelled.")
    go_on.set()
    page.set("#seed", 3)
    page.find("[name=editing]").click()
    page.says("Done")
    assert not page.find("#cancel").is_displayed()


def test_a_clip_that_waits_shows_how_many_come_before_it(page: Page, clip: Path, toonifier: FakeToonifier) -> None:
    go_on = Event()
    toonifier.before = lambda: go_on.wait(SECONDS)
    page.run(
        """const body = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt());
        return fetch('/api/clip', {method: 'POST', body}).then(() => true)""",
        base64.b64encode(clip.read_bytes()).decode(),
    )
    page.choose(clip)
    page.find("#start").click()
    page.says("Waiting; one clip comes before this one.")
    go_on.set()
    page.says("Done.")


def test_a_clip_that_is_none_is_said_to_be_none(page: Page, tmp_path: Path) -> None:
    (tmp_path / "me.mp4").write_bytes(b"no video")
    page.choose(tmp_path / "me.mp4")
    page.find("#start").click()
    page.says("clip: got ")
    assert page.find("#start").is_displayed()


def test_the_webcam_is_toonified_and_follows_the_controls(page: Page) -> None:
    page.find("#webcam").click()
    page.says("frames a second")
    page.find("[name=editing]").click()
    page.set("#seed", 200)
    page.until(lambda: abs(page.colour[1] - 200) < 10)
    assert read_picture(page.downloaded("webcam_toon.jpg")).shape == (480, 640, 3)
    page.find("#close").click()
    page.until(lambda: page.find("#webcam").is_displayed())


def test_the_webcam_works_once_the_browser_has_the_token(chrome: Chrome, toonifier: FakeToonifier) -> None:
    token = "a-token-of-a-test"
    with studio(toonifier, token=token) as port:
        chrome.get(f"http://anybody:{token}@127.0.0.1:{port}/")  # in the place of the window that asks for a password
        page = Page(chrome, port)
        page.find("#webcam").click()
        page.says("frames a second")
        chrome.get("about:blank")
        chrome.delete_all_cookies()


def test_only_a_live_model_has_a_slider_over_r_swap(live_page: Page) -> None:
    assert live_page.find("#blend").is_displayed()
    assert live_page.blend == ("r_swap 8", [1, 1, 0, 0, 0])
    live_page.find("[name=model][value=blend_r16]").click()
    assert not live_page.find("#blend").is_displayed()
    assert live_page.blend[1] == []


def test_the_slider_over_r_swap_names_where_it_snaps_and_the_bars_follow(live_page: Page) -> None:
    live_page.find("summary").click()
    for position, text in ((0, "the base alone"), (1, "r_swap 4"), (3, "r_swap 16"), (5, "r_swap 64")):
        live_page.set("#r-swap", position)
        assert live_page.blend == (text, [1] * position + [0] * (5 - position))
    live_page.set("[data-resolution='16']", 0.52)
    assert live_page.blend == ("own shares", [1, 1, 0.5, 1, 1])
    live_page.find("[type=reset]").click()
    live_page.until(lambda: live_page.find("[name=model][value=blend_r16]").is_selected())
    live_page.find("[name=model][value=live]").click()
    assert live_page.blend == ("r_swap 8", [1, 1, 0, 0, 0])


def test_a_face_is_encoded_once_while_a_blend_is_dragged_and_the_newest_blend_wins(
    live_page: Page, photo: Path, toonifier: FakeToonifier
) -> None:
    live_page.choose(photo)
    live_page.says("Done")
    toonifier.calls.clear()
    live_page.drag("#r-swap", *range(6), *range(4, -1, -1))
    live_page.until(lambda: live_page.colour[2] < 8 and "Rendered" in live_page.status)
    names = [name for name, _ in toonifier.calls]
    assert names[0] == "encode"
    assert {*names[1:]} == {"render"}
    assert len(names) < 8  # eleven blends were passed, of which those that had become stale were not rendered
    assert toonifier.rendered[-1].blend == (0, 0, 0, 0, 0)
    live_page.drag("#r-swap", 5)
    live_page.until(lambda: live_page.colour[2] > 92)
    assert [name for name, _ in toonifier.calls].count("encode") == 1
    assert live_page.find("#download").get_attribute("download") == "me_toon.jpg"
    live_page.let_go("#r-swap")
    live_page.until(lambda: live_page.find("#download").get_attribute("download") == "me_toon.png")
    assert toonifier.styles[-1].blend == (1, 1, 1, 1, 1)


def test_faces_that_the_studio_gave_up_are_sent_again(
    live_page: Page, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = KeptFaces.get

    def get_after_others(self: KeptFaces, id: str) -> EncodedFaces:
        asked.append(id)
        if len(asked) == 2:
            self._faces.clear()
        return get(self, id)

    monkeypatch.setattr(KeptFaces, "get", get_after_others)
    live_page.choose(photo)
    live_page.says("Done")
    for position in (4, 1):
        live_page.drag("#r-swap", position)
        live_page.until(lambda: abs(live_page.colour[2] - 20 * position) < 8)  # noqa: B023
    assert asked[0] == asked[1] != asked[2]


def test_one_of_several_transferred_models_is_chosen_beside_the_slider(
    live_page: Page, photo: Path, toonifier: FakeToonifier
) -> None:
    assert not live_page.find("#transferred").is_displayed()
    live_page.choose(photo)
    live_page.says("Done")
    assert toonifier.styles[-1].transfer is None
    live_page.find("[name=model][value=duo]").click()
    live_page.until(lambda: toonifier.styles[-1].transfer == "cartoon")
    live_page.find("[name=transfer]").send_keys("anime")
    live_page.until(lambda: toonifier.styles[-1].transfer == "anime")
    assert live_page.blend == ("r_swap 8", [1, 1, 0, 0, 0])


def test_a_sheet_of_every_r_swap_is_downloaded(live_page: Page, photo: Path, toonifier: FakeToonifier) -> None:
    assert not live_page.find("#sheet").is_displayed()
    live_page.choose(photo)
    live_page.says("Done")
    sheet = read_picture(live_page.downloaded("me_sheet.png", "#sheet"))
    assert len(toonifier.rendered) == 6
    assert min(sheet.shape[:2]) > 64
    live_page.says("The sheet is among the downloads.")


def test_a_live_model_that_is_the_only_one_is_not_offered_as_a_choice(
    chrome: Chrome, toonifier: FakeToonifier, photo: Path
) -> None:
    with studio(toonifier, Catalogue((LIVE,), ())) as port:
        page = Page(chrome, port, choices=1)
        assert not page.find("#models").is_displayed()
        page.choose(photo)
        page.says("Done")
        assert toonifier.styles[-1].blend == LIVE.shares
        chrome.get("about:blank")


def test_every_control_has_a_name(live_page: Page) -> None:
    nameless = """const named = (element) => element.ariaLabel || element.textContent.trim()
            || [...element.labels ?? []].some((label) => label.textContent.trim());
        return [...document.querySelectorAll('input, select, button, progress, a, canvas')]
            .filter((element) => !named(element)).map((element) => element.outerHTML)"""
    assert live_page.run(nameless) == []


def test_the_page_asks_nobody_but_the_studio(page: Page, photo: Path) -> None:
    page.choose(photo)
    page.says("Done")
    origins = page.run(
        "return [...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin))]"
    )
    assert [origin for origin in origins if origin != "null"] == [page.run("return location.origin")]
