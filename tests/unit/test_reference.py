"""The reference has every record of a document, and agents are told of keys that exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from fixtures.findings import make_finding as make_finding

from autobatch.check.predicted_memory import PredictedMemory
from autobatch.check.records import CheckReport, CheckSettings, Measurement, Verdict
from autobatch.check.report.document import CHECK
from autobatch.compare.records import Comparison
from autobatch.planning.records import Plan, SnapshotPlan
from autobatch.records import Finding
from autobatch.records.device_report import DeviceReport, MachineReport
from autobatch.reporting.document import FINDING
from autobatch.tuning.records import Tuning

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = "".join((DOCS / "reference" / name).read_text() for name in ("json.md", "python.md"))
DOCUMENTS = (
    Finding, Comparison, Verdict, Measurement, PredictedMemory, Tuning, Plan, SnapshotPlan,
    DeviceReport,
)  # fmt: skip


def records_in(hint: Any) -> Iterator[type]:
    """The records in a type and in the fields of those, each once or more.

    Args:
        hint: A type, or what stands for several.
    """
    for part in get_args(hint):
        yield from records_in(part)
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
        for field in get_type_hints(hint).values():
            yield from records_in(field)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.__name__)
def test_every_record_in_a_document_is_in_the_reference(document: type) -> None:
    listed = re.findall(r"^::: (autobatch[\w.]+)\.(\w+)$", PAGE, re.MULTILINE)
    shown = {getattr(importlib.import_module(module), name, None) for module, name in listed}
    needed = {*records_in(document)}
    assert document in needed
    assert not {each.__name__ for each in needed - shown}


def test_agents_are_told_of_keys_that_the_document_has(make_finding: Any) -> None:
    check = CheckReport(target="m.py", devices=(), settings=CheckSettings(), verdicts=())
    keys = {
        "probe": {*FINDING.to_document(make_finding())},
        "check": {*CHECK.to_document(check)},
        "compare": {*vars(Comparison)},
        "plan": {*vars(Plan)},
        "tune": {*vars(Tuning)},
        "devices": {*vars(MachineReport), *vars(DeviceReport), "unknown"},
    }
    page = (DOCS / "agents.md").read_text()
    rows = re.findall(r"^\|[^|]+\| `autobatch (\w+)[^|]+\| (.*) \|$", page, re.MULTILINE)
    assert {command for command, _ in rows} == {*keys}
    for command, told in rows:
        assert {*re.findall(r"`(\w+)`", told)} <= keys[command], command
