"""The page: figures, escaping, no reference outside itself; each kind of task; one and many experiments."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from made_up_results import chain, full_experiment, gallery
from PIL import Image

from pipeline.artifacts.program import PROGRAM
from pipeline.report.images import label_map, photo
from pipeline.report.model import ListRecord, ReportData, Score, Unfinished
from pipeline.report.page import build_report, render
from pipeline.report.tables import write_tables
from pipeline.report.terminal import text_table

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Balance(HTMLParser):
    """Checks that tags close in order and collects ids."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.wrong = [], [], []

    def handle_starttag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def page():
    longer = chain("streets-source-longer", {"source": [41.0, 41.0, 45.0]})
    return render(ReportData((full_experiment(), longer)))


def test_page_shows_means_deviations_and_paired_gains(page):
    for figure in ("42.00 ± 2.00", "46.00 ± 1.73", "+4.00 ± 1.00", "46.50 ± 0.71", "+0.33 ± 1.15"):
        assert figure in page


def test_commands_begin_with_what_was_typed(monkeypatch):
    monkeypatch.setenv(PROGRAM, "segadapt")
    text = render(ReportData((full_experiment(),)))
    for verb in ("start", "suggest", "predict"):
        assert f"segadapt {verb} --" in text
    assert "python -m" not in text


def test_page_refers_to_nothing_outside_itself(page):
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[\w+/=]+", "", page))
    sources = re.findall(r'(?:src|href|action)="([^"$]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert page.count("<script") == 2 and "url(http" not in page


def test_page_is_well_formed_and_ids_are_unique(page):
    balance = Balance()
    balance.feed(page)
    assert balance.wrong == []
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))


def test_links_inside_the_page_have_their_targets(page):
    targets = set(re.findall(r'\bid="([^"]+)"', page))
    references = set(re.findall(r'href="#([^")]+)', page))
    assert len(references) > 4 and references <= targets


def embedded(page):
    """What the page's scripts read."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    )


def test_scripts_read_the_figures_of_every_seed(page):
    (task,) = embedded(page)["tasks"]
    inter = task["rows"][1]
    assert inter["name"] == "streets-intrada / inter"
    assert inter["values"] == {"0": 44.0, "1": 47.0, "2": 47.0} and inter["baseline"] == 0
    assert inter["classes"] == [56.0, 36.0, 46.0] and inter["matrix"][0] == [270, 24, 6]
    assert task["rows"][3]["baseline"] == 0  # the single stage of another experiment
    assert [one["seed"] for one in embedded(page)["experiments"][0]["rankings"]] == [0, 1, 2]


def test_summary_says_the_best_its_gain_and_what_to_do(page):
    summary = page[page.index('class="card"') : page.index("How to read the figures")]
    for text in (
        "mIoU 46.50 ± 0.71 %",
        "<b>streets-intrada / intra</b>",
        "+5.50 ± 0.71",
        "2 pairs of seeds",
        "pipeline suggest",
    ):
        assert text in summary, text


def test_the_comparison_shows_the_choices_of_snapshots_where_there_are_any(page):
    assert "label-free choice" in table_of(page, "compare")


def test_what_had_target_labels_is_never_the_best(make_chain, experiment):
    oracle = make_chain("oracle", {"source": [90.0, 91.0, 92.0]}, target_labels=True)
    summary = render(ReportData((oracle, experiment))).partition("How to read")[0]
    assert "<b>streets-intrada / intra</b>" in summary and "<b>oracle" not in summary


def test_every_line_of_the_comparison_has_a_cell_for_each_heading(make_chain):
    further = {"mIoU": 40.0, "pixel accuracy": 60.0, "mIoU drives": 38.25, "mIoU few": 50.0}
    item = make_chain("one", {"source": [40.0], "inter": [41.0]})
    runs = tuple(replace(run, scores={"last": Score(10, further)}) for run in item.runs)
    table = table_of(render(ReportData((replace(item, runs=runs),))), "compare")
    counts = {len(re.findall(r"<t[hd][ >]", line)) for line in re.findall(r"<tr.*?</tr>", table, re.DOTALL)}
    assert len(counts) == 1
    assert "label-free choice" not in table  # no row has any
    assert "mIoU drives" in table and "38.25" in table and "60.00" not in table


def test_data_are_shown_with_their_warnings(page):
    section = page[page.index('id="data0"') : page.index('id="repeat"')]
    for text in (
        "source: no pixel in any image of: person",
        "rendered train, 40 images",
        "80x60, landscape",
        "25.0 % of the pixels ignored",
    ):
        assert text in section, text
    assert section.count('class="over"') == 1 and "labels not opened" in section


def shares(page):
    """The headings of the class frequencies, and their cells by class."""
    table = table_of(page, "shares")
    heads = re.findall(r"<th>([^<]+)</th>", table)
    return heads, {
        re.sub("<.*?>", "", line[0]): re.findall(r"<td>([^<]+)</td>", line[1])
        for line in re.findall(r"<tr><th>(.*?)</th>(.*?)</tr>", table, re.DOTALL)
    }


def test_class_frequencies_of_the_predictions_stand_beside_those_of_the_labels(page):
    """By hand, of the made-up confusion matrix: 100, 118 and 82 of 300 pixels; only the best chain is shown."""
    heads, cells = shares(page)
    assert heads == ["source", "predicted: streets-intrada / source", "predicted: streets-intrada / intra"]
    assert cells == {
        "road": ["30", "33", "33"],
        "car": ["70", "39", "39"],
        "person": ["none", "27", "27"],
    }
    assert "labelled pixels of the evaluation split" in page


def test_without_labels_the_predictions_on_target_images_are_counted(experiment):
    """`intra` moves labels of 20 rows a class by whole rows alone, so that each class keeps a third."""
    runs = tuple(replace(run, scores={}, snapshots=None) for run in experiment.runs)
    text = render(ReportData((replace(experiment, runs=runs),)))
    heads, cells = shares(text)
    assert heads[-1] == "predicted: streets-intrada / intra"
    assert [line[-1] for line in cells.values()] == ["33", "33", "33"]
    assert "Predicted frequencies: the target images" in text


def test_costs_are_added_over_stages(page):
    assert "11.5 min of computing in all" in page
    assert re.search(r"<th>inter</th><td>1</td><td>10.0 min</td><td>10.0 min</td><td>1.5 GB</td>", page)


def test_pictures_stay_below_their_share_of_the_page(experiment):
    large = tuple(replace(one, image=noise(one.image, (300, 480))) for one in gallery(40))
    text = render(ReportData((replace(experiment, gallery=large),)))
    assert 4 <= len(embedded(text)["tasks"][0]["gallery"]["images"]) < 40
    assert len(text) < 5_000_000


def noise(image, size):
    return np.random.default_rng(int(image.sum())).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_oracle_figures_are_always_marked(page):
    """Every cell that holds an oracle figure has the class `oracle`; 49.00 occurs only as one."""
    cells = re.findall(r"<td[^>]*>49\.00</td>", page)
    assert cells
    assert all("oracle" in cell for cell in cells)
    assert "oracle selection" in page


def test_page_names_every_image_list_with_its_length_and_hash(page):
    assert "streets-camera train" in page
    assert ">1,200<" in page
    assert "ab" * 32 in page


def test_page_names_the_test_mode_of_every_figure(page, make_chain):
    assert "Test mode: plain" in page and "aggregation" not in page.partition("<script")[0]
    modes = ("plain", "aggregation")
    chain = make_chain("chain", {"source": [40.0], "inter": [50.0]}, test_modes=modes)
    runs = tuple(replace(run, test_mode=mode) for run, mode in zip(chain.runs, modes, strict=True))
    text = render(ReportData((replace(chain, runs=runs),)))
    assert "Test mode: plain" not in text
    for mode, figure in zip(modes, ("40.00", "50.00"), strict=True):
        rows = re.findall(rf'<td class="text">{mode}</td>.*?</tr>', text, re.DOTALL)
        assert any(figure in row for row in rows)


def table_of(page, name):
    return re.search(rf'<table class="{name}.*?</table>', page, re.DOTALL)[0]


def test_unrun_cells_say_so(page, make_chain):
    assert table_of(page, "compare").count("not run") == 0 and page.count("not run") == 1
    planned = make_chain("planned", {"source": [None, None], "inter": [None, None]})
    text = render(ReportData((planned,)))
    assert table_of(text, "compare").count("not run") == 2
    assert text.count("not run") == 2 + 1 + 4  # results, summary, one per run


def test_a_part_of_a_list_says_of_how_many(page, experiment):
    assert "1,200</td>" in page
    part = ListRecord("target", "streets-camera train", 505, "cd" * 32, "inter", 2975, (1,))
    text = render(ReportData((replace(experiment, lists=(part,)),)))
    (row,) = re.findall(r"<tr><th>target</th>.*?</tr>", text)
    assert all(found in row for found in (">inter<", "505 of 2,975", ">1<", "cd" * 32))


def test_names_are_escaped_everywhere(experiment):
    evil = "<img src=x onerror=alert(1)>&\"'"
    named = replace(
        experiment,
        name=evil,
        task=evil,
        recipe=evil,
        network=evil,
        class_names=(evil, "car", "person"),
        software={evil: evil},
        gallery=tuple(replace(row, name=evil) for row in experiment.gallery),
        lists=tuple(replace(one, name=evil, role=evil, stage=evil) for one in experiment.lists),
        thresholds=experiment.thresholds.replace({"class": {"road": evil}}),
    )
    text = render(ReportData((named,), title=evil))
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    balance = Balance()
    balance.feed(text)
    assert balance.wrong == []


def test_classification_shows_accuracy_and_confusion_matrix(make_chain):
    chain = make_chain("digits", {"source": [78.0], "intra": [96.0]}, kind="classification", task="digits")
    matrix = np.array([[90, 10, 0], [0, 777, 3], [1, 2, 1234]])
    runs = tuple(
        replace(run, scores={"last": Score(10, {"accuracy": 96.0}, {}, matrix)}, snapshots=None)
        for run in chain.runs
    )
    text = render(ReportData((replace(chain, runs=runs),)))
    shown = text.partition("<script")[0]
    assert "accuracy %" in shown and "mIoU" not in shown
    assert "IoU per class" not in shown and "Confusion matrix" in shown
    assert embedded(text)["tasks"][0]["rows"][1]["matrix"] == matrix.tolist()


def test_binary_task_shows_dice_and_iou(make_chain):
    chain = make_chain("polyps", {"source": [60.0]}, kind="binary", class_names=("background", "polyp"))
    scores = {"last": Score(10, {"mIoU": 61.0, "Dice": 71.25}, {"background": 90.0, "polyp": 32.0})}
    runs = tuple(replace(run, scores=scores, snapshots=None) for run in chain.runs)
    text = render(ReportData((replace(chain, runs=runs),)))
    assert "Dice %" in text
    assert ">71.25<" in text
    assert ">61.00<" in text
    assert ">32.0<" in text


def test_label_free_figures_are_shown_when_there_are_no_labels(make_chain):
    chain = make_chain("mine", {"source": [40.0]})
    run = replace(chain.runs[0], scores={}, snapshots=None, label_free_figures={"mean entropy": 0.12346})
    text = render(ReportData((replace(chain, runs=(run,)),)))
    assert "0.1235" in text
    assert "mean entropy" in text


def test_a_gallery_without_labels_offers_none(experiment):
    unlabelled = tuple(replace(row, label=None) for row in experiment.gallery)
    text = render(ReportData((replace(experiment, gallery=unlabelled),)))
    gallery = text[text.index('class="gallery"') : text.index('class="pairs"')]
    assert '<option value="label"' not in gallery and '<option value="map:2" selected>' in gallery


def test_fifty_experiments_start_folded_and_a_few_open(make_chain):
    one = make_chain("one", {"source": [40.0]}, seeds=(0,))
    plain = replace(one, runs=tuple(replace(run, curves=None, snapshots=None) for run in one.runs))
    many = tuple(replace(plain, name=f"experiment-{number}") for number in range(50))
    text = render(ReportData(many))
    assert text.count('<details class="experiment"') == 50
    assert text.partition("<script")[0].count(" open>") == 0
    assert render(ReportData(many[:2])).partition("<script")[0].count(" open>") == 2
    assert all(text.count(f"<th>experiment-{number}</th>") >= 1 for number in range(50))
    assert "only-finals" in table_of(text, "compare")


def test_empty_report_is_a_page(tmp_path):
    out = build_report(ReportData(()), tmp_path / "new" / "index.html")
    assert "0 experiments" in out.read_text(encoding="utf-8")


def test_same_data_give_the_same_bytes(experiment):
    data = ReportData((experiment,))
    assert render(data) == render(data)


def decoded(uri):
    return Image.open(BytesIO(base64.b64decode(uri.split(",")[1])))


def test_label_map_keeps_exact_colors_and_large_pictures_shrink():
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[1] = (1, 2, 3)
    ids = np.zeros((600, 960), dtype=np.uint8)
    ids[:300] = 1
    picture = decoded(label_map(ids, palette, ids.shape))
    assert picture.size == (480, 300)
    colors = np.asarray(picture.convert("RGB"))
    assert np.unique(colors.reshape(-1, 3), axis=0).tolist() == [[0, 0, 0], [1, 2, 3]]
    assert colors[149, 0].tolist() == [1, 2, 3]
    assert colors[150, 0].tolist() == [0, 0, 0]
    assert decoded(photo(np.zeros((600, 960, 3), dtype=np.uint8))).size == (480, 300)


def test_one_pixel_label_fills_the_tile_of_its_image():
    ids = np.full((1, 1), 1, dtype=np.uint8)
    palette = np.full((256, 3), 9, dtype=np.uint8)
    assert decoded(label_map(ids, palette, (28, 28))).size == (28, 28)


def test_what_has_not_finished_stands_above_the_figures_with_its_reason_and_log():
    stopped = Unfinished(
        (("bad", 1),), "prepare-x-0123", "b.png: <damaged>", ("start: prepare", "ERROR & out")
    )
    page = render(ReportData((full_experiment(),), unfinished=(stopped,)))
    shown = page[page.index("<h2>Not finished") : page.index('<section class="task"')]
    for text in (
        "bad/seed1",
        "prepare-x-0123",
        "b.png: &lt;damaged&gt;",
        "start: prepare\nERROR &amp; out",
    ):
        assert text in shown
    alone = Balance()
    alone.feed(render(ReportData((), unfinished=(stopped,))))
    assert not alone.wrong and not alone.open


def test_without_any_result_there_are_tables_without_rows(tmp_path):
    runs = (("bad", 0), ("bad", 1), ("good", 0), ("good", 1))
    data = ReportData((), unfinished=(Unfinished(runs, "prepare-x-0123", "not started"),))
    write_tables(data, tmp_path)
    assert (
        text_table(data).splitlines()[-1]
        == "bad/seed0, bad/seed1, good/seed0 and 1 more: prepare-x-0123: not started"
    )
    assert list(pd.read_csv(tmp_path / "runs.csv")["experiment"]) == []
