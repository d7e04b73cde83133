"""In a real Jupyter kernel text is text, and what ends a cell is shown as it should be seen."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("ipykernel", reason="ipykernel, a real Jupyter kernel, is not installed")
manager = pytest.importorskip("jupyter_client.manager")

SEARCH = """
import sys
import torch
import autobatch

model = torch.nn.Linear(8, 3)
data = [(torch.randn(8), index % 3) for index in range(64)]
finding = autobatch.find_batch_size(
    model, data, torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1),
    goal="memory", max_batch_size=4, device="cpu",
)
"""
CHECK = """
from autobatch.cli import run
status = run(["devices", "--device", "cpu"])
"""
Output = dict[str, Any]


@pytest.fixture(scope="module")
def cell() -> Iterator[Callable[[str], list[Output]]]:
    """Runs a cell in a kernel that has a finding, and returns its outputs."""
    kernel, client = manager.start_new_kernel(startup_timeout=120)

    def run(code: str) -> list[Output]:
        outputs: list[Output] = []
        reply = client.execute_interactive(code, timeout=240, output_hook=outputs.append)
        assert reply["content"]["status"] == "ok", reply["content"].get("traceback")
        kinds = ("stream", "display_data", "execute_result")
        return [each for each in outputs if each["msg_type"] in kinds]

    try:
        run(SEARCH)
        yield run
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


def result_of(outputs: list[Output]) -> dict[str, Any]:
    """The forms of the one result that a cell shows."""
    (output,) = outputs
    assert output["msg_type"] == "execute_result"
    data: dict[str, Any] = output["content"]["data"]
    return data


def test_a_search_shows_one_passing_line_and_leaves_one(
    cell: Callable[[str], list[Output]],
) -> None:
    outputs = cell(SEARCH)
    assert {each["content"].get("name") for each in outputs} == {"stderr"}
    text = "".join(each["content"]["text"] for each in outputs)
    assert "\rloading Linear (in memory)" in text
    assert "\rbatch 4: " in text
    (line,) = re.findall(r"(.*)\n", text.rpartition("\r")[2])
    assert line.startswith("autobatch: recommended batch size 4")


@pytest.mark.parametrize("call", ["str(finding)", "finding.report()"])
def test_a_report_is_text_and_nothing_is_shown_beside_it(
    cell: Callable[[str], list[Output]], call: str
) -> None:
    assert cell(f"report = {call}") == []
    text = result_of(cell("report"))["text/plain"]
    assert "Batch size 4" in text
    assert "largest that fits" in text


def test_a_finding_is_shown_with_verdict_table_picture_warnings_and_report(
    cell: Callable[[str], list[Output]],
) -> None:
    shown = result_of(cell("finding"))
    assert shown["text/plain"].startswith("<Finding batch_size=4")
    html = shown["text/html"]
    parts = ("<b>Batch size 4: ", "Why: ", "Next: ", "<td><b>4</b></td>", "<img ", "<summary>")
    found = [html.index(part) for part in parts]
    assert found == sorted(found)
    picture = re.search(r"data:image/png;base64,([^']+)", html)
    assert picture is not None
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert "largest that fits" in html[found[-1] :]


def test_a_plot_is_a_picture_without_any_set_up(cell: Callable[[str], list[Output]]) -> None:
    shown = result_of(cell("finding.plot()"))
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")


def test_a_command_called_in_a_notebook_writes_to_standard_output(
    cell: Callable[[str], list[Output]],
) -> None:
    outputs = cell(CHECK)
    assert {each["msg_type"] for each in outputs} == {"stream"}
    text = "".join(each["content"]["text"] for each in outputs)
    assert "precisions" in text
