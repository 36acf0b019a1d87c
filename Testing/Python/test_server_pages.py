"""The server's pages in a real Chromium. MMLN_SCREENSHOTS=1 also writes pictures of them for the docs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect

from backend_cases import LONG, posix
from cli_cases import Pair
from repository import ROOT
from server_cases import TOKEN, Server, until

PICTURES = ROOT / "Resources" / "Screenshots"
SECONDS = 60

pytestmark = posix
expect.set_options(timeout=1000 * SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = Server(tmp_path_factory.mktemp("paged"), "--grace-seconds", 0)
    yield shared
    assert shared.files() == []
    shared.stop()
    assert shared.leftovers() == []


@pytest.fixture
def page(server: Server, chromium: Browser) -> Iterator[Page]:
    """A tab in which nobody has given the token yet; at the end the browser has had nothing to complain about."""
    context = chromium.new_context(
        base_url=server.address, viewport={"width": 1200, "height": 860}, device_scale_factor=1.5
    )
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield tab
    context.close()
    assert [text for text in complaints if "401" not in text and "404" not in text] == []


def enter(page: Page, path: str, token: str = TOKEN) -> None:
    """Open a page, and type the token."""
    page.goto(path)
    page.get_by_label("Token of this server").fill(token)
    page.keyboard.press("Enter")


def choose(page: Page, pair: Pair, **settings: Any) -> None:
    """The pair in its two fields, and some settings."""
    page.locator("#fixed").set_input_files(pair.fixed)
    page.locator("#moving").set_input_files(pair.moving)
    page.get_by_text("More settings").click()
    page.locator("#initial").select_option("identity")
    page.locator("#refine").fill(str(settings["refine"]))


def picture(page: Page, name: str) -> None:
    """For the docs, when they are asked for: in both colour schemes."""
    if os.environ.get("MMLN_SCREENSHOTS"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=PICTURES / f"server-{name}-{scheme}.png")
        page.emulate_media(color_scheme=None)


def drop(page: Page, pair: Pair) -> None:
    """Let a file fall on the field for the fixed volume, as with a mouse."""
    page.evaluate(
        """([name, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          const target = document.querySelector('.drop[data-for="fixed"]');
          for (const kind of ["dragover", "drop"])
            target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [pair.fixed.name, list(pair.fixed.read_bytes())],
    )


def test_token_is_asked_for_once(page):
    enter(page, "/", token="wrong")
    expect(page.locator("#sign-in-trouble")).to_contain_text("does not know this token")
    picture(page, "token")
    page.get_by_label("Token of this server").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("at work")
    page.get_by_role("link", name="Register").click()
    expect(page.locator("#hint")).to_have_text("Choose both volumes first.")
    expect(page.locator("#sign-in")).to_be_hidden()
    page.get_by_role("button", name="Forget the token").click()
    expect(page.locator("#sign-in")).to_be_visible()


def test_two_volumes_to_a_report(page, pair):
    enter(page, "/register")
    go = page.get_by_role("button", name="Register")
    expect(go).to_be_disabled()
    drop(page, pair)
    expect(page.locator("#fixed-name")).to_contain_text("fixed.nii.gz, ")
    expect(go).to_be_disabled()
    choose(page, pair, refine=2)
    expect(go).to_be_enabled()
    page.locator("#moving_labels").set_input_files(pair.labels)
    picture(page, "register")
    go.click()
    expect(page.locator("#verdict")).to_contain_text(", 0 folded voxels, ")
    expect(page.locator("#result-title")).to_be_focused()
    files = page.locator("#files strong").all_inner_texts()
    assert {"transform.h5", "labels.nii.gz", "report.html"} <= set(files)
    with page.expect_download() as download:
        page.get_by_role("button", name="transform.h5").click()
    assert download.value.suggested_filename == "transform.h5"
    assert download.value.path().read_bytes()[1:4] == b"HDF"
    report = page.frame_locator("#report")
    expect(report.get_by_text("Registration report")).to_be_visible()
    figures = page.locator("#verdict").inner_text().partition(",")[0]
    assert figures.startswith("Local similarity 0.")
    expect(report.get_by_text(figures).first).to_be_visible()  # the page and the report say the same
    expect(report.locator("body")).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    page.locator("#result").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.getElementById('result').offsetTop - 20)")
    picture(page, "report")
    page.get_by_role("button", name="Remove it from the server").click()
    expect(page.locator("#result")).to_be_hidden()


def test_a_reloaded_page_finds_its_job_again_and_cancels_it(page, pair, server):
    enter(page, "/register")
    choose(page, pair, refine=LONG)
    page.get_by_role("button", name="Register").click()
    expect(page.locator("#step")).to_contain_text("Refine")
    page.reload()
    expect(page.locator("#step")).to_contain_text("Refine")
    assert 0 <= page.locator("#bar").evaluate("bar => bar.value") <= 1
    picture(page, "progress")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#trouble")).to_have_text("Cancelled.")
    until(lambda: not server.files())


def test_errors_are_told_in_the_page(page, pair, tmp_path):
    enter(page, "/register")
    (tmp_path / "notes.pdf").write_text("x")
    expect(page.locator("#hint")).to_have_text("Choose both volumes first.")
    page.locator("#fixed").set_input_files(tmp_path / "notes.pdf")
    expect(page.locator("#hint")).to_contain_text("of no kind that the server takes")
    (tmp_path / "broken.nii.gz").write_bytes(pair.fixed.read_bytes()[:-2000])
    page.locator("#fixed").set_input_files(tmp_path / "broken.nii.gz")
    page.locator("#moving").set_input_files(pair.moving)
    page.get_by_role("button", name="Register").click()
    expect(page.locator("#trouble")).to_contain_text("fixed.nii.gz is damaged or cut off")
    expect(page.get_by_role("button", name="Register")).to_be_enabled()


def test_keyboard_alone(page, pair):
    enter(page, "/register")
    expect(page.locator("#hint")).to_have_text("Choose both volumes first.")
    page.locator("#fixed").set_input_files(pair.fixed)
    page.locator("#moving").set_input_files(pair.moving)
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert [name for name in reached if name in ("fixed", "moving", "SUMMARY", "go")] == [
        "fixed", "moving", "SUMMARY", "go",
    ]  # fmt: skip


def test_status_shows_jobs_and_devices(page, pair, server):
    keys = [server.upload(path) for path in (pair.fixed, pair.moving)]
    message = {"kind": "register", "fixed": keys[0], "moving": keys[1], "initial": "identity", "refine": LONG}
    job, waiting = server.submit(message), server.submit({"kind": "info"})
    until(lambda: (server.state(job)["step"] or "").startswith("refine"))
    enter(page, "/")
    expect(page.locator("#jobs")).to_contain_text(job[:8])
    expect(page.locator("#jobs")).to_contain_text(waiting[:8])
    expect(page.locator("#devices")).to_contain_text("CPU")
    expect(page.locator("#devices")).to_contain_text(f"works on {job[:8]}")
    expect(page.locator("#summary")).to_contain_text("1 job waits")
    picture(page, "status")
    for key in (job, waiting):
        server.ask("DELETE", f"/v1/jobs/{key}")
    expect(page.locator("#summary")).to_contain_text("0 jobs wait")


def test_interface_is_described(page):
    enter(page, "/api")
    expect(page.locator(".operation")).to_have_count(9)
    job = page.locator(".operation", has_text="PUT").filter(has_text="/v1/jobs/{key}")
    job.locator("summary").click()
    expect(job).to_contain_text("moving_labels")
    picture(page, "interface")


def test_pages_fit_a_narrow_screen(page):
    page.set_viewport_size({"width": 420, "height": 860})
    enter(page, "/")
    for path in ("/", "/register", "/api"):
        page.goto(path)
        if path == "/api":
            expect(page.locator(".operation")).to_have_count(9)
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 420, path


def test_pictures_are_there():
    pages = ("interface", "progress", "register", "report", "status", "token")
    wanted = [f"server-{name}-{scheme}.png" for name in pages for scheme in ("dark", "light")]
    assert sorted(path.name for path in PICTURES.glob("server-*.png")) == wanted
