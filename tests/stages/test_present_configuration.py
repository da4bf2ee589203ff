"""Colors and names on the page and in the model folder are the present configuration's, and retrain nothing."""

from chain_world import json_or_yaml, write

from pipeline.artifacts.files import read_json
from pipeline.plan.stage import in_order

NEW = [1, 200, 3]


def test_colors_and_names_come_from_the_present_configuration(chain):
    before = {stage.key for stage in in_order(chain.plan().all_stages())}
    root = chain.folder / "config"
    taxonomy = json_or_yaml(root / "taxonomies/camvid11.yaml")
    old = taxonomy["classes"][3]["color"]
    taxonomy["classes"][3]["color"] = NEW
    write(root / "taxonomies/camvid11.yaml", taxonomy)
    (root / "datasets/camera.yaml").rename(root / "datasets/phone.yaml")
    task = json_or_yaml(root / "tasks/files.yaml")
    for role in ("target", "evaluate"):
        task[role]["dataset"] = "phone"
    write(root / "tasks/files.yaml", task)

    run = chain.plan()
    assert {stage.key for stage in in_order(run.all_stages())} == before
    folder = chain.publish(run)
    model = read_json(folder / "model/model.json")
    assert model["meta"]["taxonomy"]["classes"][3]["color"] == NEW
    assert chain.report() == 0
    page = (chain.results / "report/chain/index.html").read_text("utf-8")
    assert f"#{bytes(NEW).hex()}" in page or f"rgb({', '.join(map(str, NEW))})" in page
    assert f"#{bytes(old).hex()}" not in page
    assert "phone train" in page and "camera train" not in page
