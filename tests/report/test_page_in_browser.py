"""The page's controls in Debian's Chromium: each changes what it says."""

import shutil
from collections.abc import Iterator

import pytest
from made_up_results import chain, full_experiment, without_labels

from pipeline.report.model import ReportData
from pipeline.report.page import build_report

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator:
    """A tab with the page of made-up results, and the errors that it told."""
    longer = chain("streets-source-longer", {"source": [41.0, 41.0, 45.0]})
    path = build_report(
        ReportData((full_experiment(), longer)), tmp_path_factory.mktemp("page") / "index.html"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split())
        page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
        page.set_default_timeout(5000)
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.address = path.as_uri()
        yield page
        browser.close()


@pytest.fixture
def page(tab):
    """The page as it opens."""
    tab.set_viewport_size({"width": 1000, "height": 900})
    tab.goto(tab.address)
    yield tab
    assert tab.wrong == []


@pytest.fixture
def bare(tab, tmp_path):
    """The page of a task without labels as it opens."""
    figures = {"source": (0.2, 0.6), "inter": (0.12, 0.68), "intra": (0.14, 0.66)}
    item = without_labels(full_experiment(), figures)
    tab.set_viewport_size({"width": 1000, "height": 900})
    tab.goto(build_report(ReportData((item,)), tmp_path / "index.html").as_uri())
    yield tab
    assert tab.wrong == []


def test_without_labels_rows_are_sorted_and_hidden_and_pictures_drawn(bare):
    assert [row[-1] for row in names(bare)] == ["source", "inter", "intra"]
    bare.get_by_role("button", name="uncertainty coefficient").click()
    assert [row[-1] for row in names(bare)] == ["inter", "intra", "source"]
    bare.locator(".finals").check()
    assert [row[-1] for row in names(bare)] == ["intra"]
    assert gallery(bare).locator("[name=before]").input_value() == "map:0"
    assert gallery(bare).locator("[name=after]").input_value() == "map:2"
    assert pictures(bare) == ["0", "1", "2", "3"]


def gains(page):
    return page.locator("table.compare td.gain").all_inner_texts()


def names(page):
    return [text.split() for text in page.locator("table.compare tbody tr:visible th").all_inner_texts()]


def gallery(page):
    page.locator(".gallery").scroll_into_view_if_needed()
    page.wait_for_selector("figure.pair")
    return page.locator(".gallery")


def pictures(page):
    return page.eval_on_selector_all("figure.pair", "all => all.map(one => one.dataset.name.at(-5))")


def choose(page, name, value):
    """Choose an option of the gallery and wait until it is drawn."""
    root = gallery(page)
    before = root.get_attribute("data-drawn")
    root.locator(f"[name={name}]").select_option(value)
    page.wait_for_function(
        "before => document.querySelector('.gallery').dataset.drawn !== before", arg=before
    )


def test_any_row_can_be_the_baseline(page):
    assert gains(page) == ["", "+4.00 ± 1.00", "+5.50 ± 0.71", "+0.33 ± 1.15"]
    page.locator(".baseline").select_option("1")
    assert gains(page) == ["-4.00 ± 1.00", "", "+1.00 ± 1.41", "-3.67 ± 2.08"]
    assert "streets-intrada / inter" in page.locator("td.gain").first.get_attribute("title")


def test_rows_are_sorted_by_a_heading_with_the_keyboard(page):
    heading = page.get_by_role("button", name="mIoU %")
    heading.focus()
    page.keyboard.press("Enter")
    assert [row[-1] for row in names(page)] == ["intra", "inter", "source", "source"]
    assert page.locator("th.figure").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert [row[-1] for row in names(page)] == ["source", "source", "inter", "intra"]
    page.get_by_role("button", name="gain").click()
    assert gains(page)[-1] == ""  # what has none stands last either way


def test_stages_on_the_way_can_be_hidden(page):
    assert page.locator("table.compare tbody tr:visible").count() == 4
    page.locator(".finals").check()
    assert [row[-1] for row in names(page)] == ["intra", "source"]


def test_figure_and_name_stay_in_sight_on_a_phone(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.locator(".scroll").first.evaluate("box => box.scrollTo(9999, 0)")
    for column in ("tbody th", "td.figure"):
        box = page.locator(f"table.compare {column}").first.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 400, column


def test_a_row_shows_its_classes_and_what_it_takes_for_what(page):
    def shown():
        return page.locator(".classbar .figure").first.inner_text()

    assert shown().split() == ["56.5", "+4.5"]
    page.locator("table.compare tbody th button").first.click()
    assert shown() == "52.0" and page.locator(".shown").input_value() == "0"
    page.locator(".baseline").select_option("2")
    assert shown().split() == ["52.0", "-4.5"]
    cell = page.locator("table.matrix td").nth(1)
    assert cell.inner_text() == "8.0"
    page.locator(".per").select_option("prediction")
    assert cell.inner_text() == "6.8"  # 8 of 118 pixels predicted as the second class


def test_pictures_in_every_order(page):
    assert gallery(page) and pictures(page) == ["0", "1", "2", "3"]
    for order, expected in (("worst", "1203"), ("changed", "3210"), ("uncertain", "2103"), ("given", "0123")):
        choose(page, "order", order)
        assert "".join(pictures(page)) == expected, order


def test_pictures_of_a_class(page):
    choose(page, "class", "2")
    assert pictures(page) == ["0", "1", "2"]


def test_left_and_right_are_any_answer(page):
    gallery(page)
    before = page.locator("img.after").first.get_attribute("src")
    choose(page, "after", "entropy:2")
    assert page.locator("img.after").first.get_attribute("src") != before
    choose(page, "before", "photo")
    assert page.locator("img.before").count() == 0


def test_the_slider_follows_pointer_keys_and_control(page):
    gallery(page)
    figure = page.locator("figure.pair").first

    def cut():
        return figure.evaluate("one => getComputedStyle(one).getPropertyValue('--cut')")

    assert cut() == "50%"
    box = figure.locator(".layers").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 5)
    assert float(cut().rstrip("%")) == pytest.approx(25, abs=1)
    clipped = figure.locator("img.after").evaluate("one => getComputedStyle(one).clipPath")
    assert float(clipped.split()[-1].rstrip("%)")) == pytest.approx(25, abs=1)
    figure.focus()
    page.keyboard.press("ArrowRight")
    assert float(cut().rstrip("%")) == pytest.approx(30, abs=1)
    page.locator("[name=cut]").fill("90")
    assert cut() == "90%"
    page.locator("[name=opacity]").fill("1")
    assert figure.locator("img.after").evaluate("one => getComputedStyle(one).opacity") == "1"


def test_an_image_large_zoomed_and_the_next(page):
    gallery(page)
    page.locator("figure.pair").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible() and "scene_0.png" in dialog.inner_text()
    page.keyboard.press("+")
    assert "scale(1.5)" in dialog.locator(".layers").get_attribute("style")
    page.keyboard.press("ArrowRight")
    assert "scene_1.png" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_curves_are_smoothed_over_their_raw_points_and_read_by_the_pointer(page):
    root = page.locator(".curves").first
    root.scroll_into_view_if_needed()
    page.wait_for_selector(".panel")
    panel = root.locator(".panel").first
    raw = panel.locator("polyline.raw").first.get_attribute("points")
    assert panel.locator("polyline.smooth").count() == 0
    root.locator("[name=smoothing]").fill("0.9")
    assert panel.locator("polyline.smooth").count() == 3
    assert panel.locator("polyline.raw").first.get_attribute("points") == raw
    panel.locator("svg").hover()
    told = panel.locator(".readout").inner_text()
    assert told.startswith("step 250: seed 0: 0.878 (") and "seed 2" in told


def test_the_cut_is_moved_by_control_and_over_the_histogram(page):
    root = page.locator(".ranking")
    root.scroll_into_view_if_needed()
    page.wait_for_selector(".thumbnails figure")
    told = root.locator(".told")
    assert "67 easy, 33 hard" in told.inner_text() and "as trained" in told.inner_text()
    assert root.locator(".thumbnails .easy").count() == 1
    root.locator("[name=share]").fill("0.9")
    assert "90 easy, 10 hard" in told.inner_text() and "split.lambda: 0.9" in told.inner_text()
    assert root.locator(".thumbnails .easy").count() == 2
    box = root.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 40)
    page.mouse.down()
    page.mouse.up()
    assert "0 easy" in told.inner_text() or int(told.inner_text().split()[2]) < 20
    root.locator("[name=seed]").select_option("1")
    assert "67 easy" in told.inner_text()


def test_dark_and_light_are_chosen(page):
    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.locator("#theme").click()
    dark = background()
    assert dark != light and page.locator("#theme").inner_text() == "theme: dark"
    page.locator("#theme").click()
    assert background() == light
    page.emulate_media(color_scheme="dark")
    assert background() == light
    page.locator("#theme").click()
    assert background() == dark
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("width", [400, 1000, 2000])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_shows_every_link_and_legible_axes(page):
    page.set_viewport_size({"width": 400, "height": 800})
    ends = page.eval_on_selector_all(
        "nav > *", "all => all.map(one => one.getBoundingClientRect().right).sort((a, b) => a - b)"
    )
    assert len(ends) > 5 and ends[-1] <= 400
    page.locator(".ranking").scroll_into_view_if_needed()
    page.wait_for_selector(".ranking svg text")
    heights = page.eval_on_selector_all(
        "svg text", "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(heights) >= 10


def test_dots_lie_where_their_shares_do_on_the_logarithmic_axis(page):
    """30 % lies at 1 + log10(0.3) / 5 of an axis from 0.001 to 100 %; a class without pixels at its beginning."""
    page.locator("#data0").scroll_into_view_if_needed()
    for row, expected in ((0, 0.8954), (2, 0.0)):
        axis = page.locator("td.axis > div").nth(row).bounding_box()
        dot = page.locator("td.axis > div").nth(row).locator(".m0").bounding_box()
        assert abs((dot["x"] + dot["width"] / 2 - axis["x"]) / axis["width"] - expected) < 0.01


def test_a_click_takes_a_whole_command(page):
    page.locator("code.command").last.click()
    assert page.evaluate("getSelection().toString()").startswith("python -m pipeline predict --model")
