from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "scripts" / "README.md").read_text()


def test_the_table_lists_every_script_that_can_be_run() -> None:
    paths = [path.relative_to(ROOT) for path in (ROOT / "scripts").rglob("*.py")]
    runnable = {
        ".".join(path.with_suffix("").parts)
        for path in paths
        if '__name__ == "__main__"' in (ROOT / path).read_text()
    }
    listed = re.findall(r"^\|[^|]*\| `(scripts\.[\w.]+)` \|", README, re.MULTILINE)
    no_claim = {"scripts.front"}
    started_by_others = {
        "scripts.peers.child",
        "scripts.claims.accumulating_workloads",
        "scripts.claims.late_trainings",
        "scripts.gpu.stages.__main__",
        "scripts.gpu.stages.fresh",
    }
    assert {*listed, *no_claim, *started_by_others} == runnable


def test_the_figures_stand_where_the_table_says() -> None:
    for path, anchor in re.findall(r"\(\.\./(docs/\w+\.md)#([\w-]+)\)", README):
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert anchor in anchors, (path, anchor)
