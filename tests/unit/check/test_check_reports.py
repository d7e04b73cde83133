"""A check as text, JSON and JUnit."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from autobatch.check.records import CheckReport, CheckSettings, Verdict
from autobatch.check.report.document import CHECK
from autobatch.check.report.junit import dumps_junit
from autobatch.check.report.progress import CheckLines
from autobatch.check.report.text import render_check
from autobatch.records import RequirementName, Status
from autobatch.reporting.activity import PlainActivity

VERDICTS = (
    Verdict(requirement=RequirementName.FITS, limit=64, status=Status.MET),
    Verdict(
        requirement=RequirementName.MAX_MEMORY,
        limit=10 * 2**30,
        status=Status.MET,
        value=357 * 2**20,
    ),
    Verdict(
        requirement=RequirementName.MIN_THROUGHPUT,
        limit=10_000.0,
        status=Status.NOT_MET,
        value=6400.0,
        low=6200.0,
        high=6600.0,
    ),
    Verdict(
        requirement=RequirementName.BASELINE_STEP_TIME,
        limit=0.1,
        status=Status.INCONCLUSIVE,
        value=0.08,
        low=-0.01,
        high=0.17,
        reason="the interval holds the limit",
    ),
    Verdict(
        requirement=RequirementName.REQUIRE, limit="bf16", status=Status.MET, value="supported"
    ),
)


@pytest.fixture
def report(make_measurement) -> CheckReport:
    return CheckReport(
        target="examples/digits|cnn.py",
        devices=("cpu (Test CPU)",),
        settings=CheckSettings(),
        verdicts=VERDICTS,
        measurement=make_measurement(),
        notes=("Not as in the baseline: Python 3.10 then, 3.11 now",),
        elapsed_s=12.5,
    )


def strictly(report):
    return replace(report, settings=replace(report.settings, strict=True))


def test_the_text_fits_80_columns_and_says_all(report, printed) -> None:
    text = printed(render_check, report)
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "max-memory",
        "10.0 GiB",
        "357 MiB",
        "6,400 (6,200 to 6,600)",
        "NOT MET",
        "+8.0 % (-1.0 % to +17 %)",
        "baseline-step-time: the interval holds the limit",
        "require-bf16",
        "Failed: 3 of 5 met; not met: min-throughput; inconclusive: baseline-step-time.",
        "Not as in the baseline: Python 3.10",
        "--time-limit",
    ):
        assert part in " ".join(text.split()), part


def test_too_few_rounds_for_an_interval_ask_for_more_time(report, printed) -> None:
    short = Verdict.inconclusive(RequirementName.MAX_STEP_TIME, 0.01, "too few rounds")
    text = printed(render_check, replace(report, verdicts=(short,)))
    assert "A longer --time-limit" in " ".join(text.split())
    not_run = printed(render_check, replace(report, verdicts=(short,), measurement=None))
    assert "--time-limit" not in not_run
    assert "--strict makes inconclusive a failure" in " ".join(not_run.split())


def test_the_text_names_what_was_timed_in_turn(make_measurement, report, printed) -> None:
    measurement = make_measurement(references_s=(0.02,) * 8)
    text = printed(render_check, replace(report, measurement=measurement))
    assert "8 rounds, in turn with base/model.py, in 12.5 s" in " ".join(text.split())


def test_a_time_in_doubt_without_a_reference_advises_one(make_measurement, report, printed) -> None:
    advice = "a baseline made with --reference"
    assert advice in " ".join(printed(render_check, report).split())
    beside = replace(report, measurement=make_measurement(references_s=(0.02,) * 8))
    assert advice not in " ".join(printed(render_check, beside).split())


def test_a_report_is_met_unless_something_is_not(report) -> None:
    open_only = replace(report, verdicts=tuple(v for v in VERDICTS if v.value != 6400.0))
    assert not report.is_met
    assert open_only.is_met
    assert not strictly(open_only).is_met


def test_the_keys_of_the_document_stay(report) -> None:
    document = CHECK.to_document(report)
    assert list(document) == [
        "schema_version",
        "autobatch_version",
        "target",
        "devices",
        "is_met",
        "is_complete",
        "strict",
        "requirements",
        "notes",
        "elapsed_s",
        "measurement",
        "baseline",
        "prediction",
    ]
    assert set(document["requirements"][2]) == {
        "name",
        "requirement",
        "limit",
        "status",
        "value",
        "low",
        "high",
        "reason",
        "is_predicted",
        "unit",
    }
    assert document["requirements"][2]["unit"] == "samples_per_s"
    assert document["measurement"]["step_time_s"] == pytest.approx(0.01)
    assert document["measurement"]["rounds"][0]["step_times_s"] == [0.01]
    assert json.loads(CHECK.dumps(report))["is_met"] is False


# Elements, their attributes (True: required) and their children, as Jenkins' junit-10.xsd and
# the documentation of the format give them.
SCHEMA = {
    "testsuites": (
        {"name": False, "time": False, "tests": False, "failures": False, "errors": False},
        {"testsuite"},
    ),
    "testsuite": (
        {"name": True, "tests": True, "failures": True, "errors": True, "time": False,
         "skipped": False, "timestamp": False, "hostname": False},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": ({}, {"property"}),
    "property": ({"name": True, "value": True}, set()),
    "testcase": (
        {"name": True, "time": False, "classname": False, "group": False},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "skipped": ({"type": False, "message": False}, set()),
    "failure": ({"type": False, "message": False}, set()),
    "error": ({"type": False, "message": False}, set()),
    "system-out": ({}, set()),
    "system-err": ({}, set()),
}  # fmt: skip


def find_breaches(element: ElementTree.Element) -> list[str]:
    """What of an element is not as the schema has it."""
    attributes, children = SCHEMA[element.tag]
    breaches = [f"{element.tag}: no {n}" for n, need in attributes.items() if need and n not in
                element.attrib]  # fmt: skip
    breaches += [f"{element.tag}: unknown {name}" for name in element.attrib if name not in
                 attributes]  # fmt: skip
    for child in element:
        if child.tag not in children:
            breaches.append(f"{element.tag}: unknown child {child.tag}")
        else:
            breaches += find_breaches(child)
    return breaches


@pytest.mark.parametrize("change", [lambda report: report, strictly], ids=["", "strict"])
def test_the_junit_file_is_as_its_schema_has_it(report, change) -> None:
    root = ElementTree.fromstring(dumps_junit(change(report)))
    assert find_breaches(root) == []
    suite = root.find("testsuite")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [each.name for each in VERDICTS]
    figures = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert figures["peak_bytes"] == str(2**30), "every digit of it"
    assert float(figures["step_time_s"]) == pytest.approx(0.01)
    assert int(suite.get("tests")) == len(cases)
    assert int(suite.get("failures")) == len(suite.findall(".//failure"))
    assert int(suite.get("skipped")) == len(suite.findall(".//skipped"))


def test_a_breach_of_the_schema_is_found() -> None:
    bad = "<testsuite name='x' tests='1' errors='0' colour='red'><testcase/><case/></testsuite>"
    assert find_breaches(ElementTree.fromstring(bad)) == [
        "testsuite: no failures",
        "testsuite: unknown colour",
        "testcase: no name",
        "testsuite: unknown child case",
    ]


def test_what_is_open_is_skipped_in_junit_and_a_failure_if_strict(report) -> None:
    def outcomes(xml):
        cases = ElementTree.fromstring(xml).iter("testcase")
        return {case.get("name"): {child.tag for child in case} - {"system-out"} for case in cases}

    plain, strict = outcomes(dumps_junit(report)), outcomes(dumps_junit(strictly(report)))
    assert plain["min-throughput"] == strict["min-throughput"] == {"failure"}
    assert plain["baseline-step-time"] == {"skipped"}
    assert strict["baseline-step-time"] == {"failure"}
    assert plain["fits"] == strict["fits"] == set()


def test_names_that_xml_cannot_hold_do_no_harm(report) -> None:
    hostile = replace(report, target="a<b>&\x00\x1b|.py", notes=("<script>\x07",))
    ElementTree.fromstring(dumps_junit(hostile))


def test_a_report_of_hardware_alone_has_no_target(printed) -> None:
    report = CheckReport(
        target=None, devices=(), settings=CheckSettings(), verdicts=VERDICTS[-1:], elapsed_s=0.1
    )
    assert "no device" in printed(render_check, report)
    assert find_breaches(ElementTree.fromstring(dumps_junit(report))) == []


def test_a_check_in_a_pipe_has_a_line_for_each_wait_and_each_decision(make_finding):
    stream = io.StringIO()
    lines, finding = CheckLines(PlainActivity(stream)), make_finding()
    lines.loading("model.py")
    lines.doing("importing PyTorch")
    lines.loaded(finding.workload, finding.budget, "cpu")
    lines.measuring(64, 90.0)
    lines.round_finished(1, ())
    lines.round_finished(6, VERDICTS[2:3])
    assert stream.getvalue().splitlines() == [
        "loading model.py",
        "SmallCNN on cpu, memory budget 4.0 GiB (physical memory)",
        "measuring batch size 64, for up to 90 s",
        "round 6: min-throughput 6,400 (6,200 to 6,600) not met",
    ]


def test_a_narrow_terminal_drops_the_limits_and_cuts_no_figure(report, printed) -> None:
    for width, headers in (
        (80, ["requirement", "limit", "measured", "verdict"]),
        (60, ["requirement", "measured", "verdict"]),
        (40, ["requirement", "verdict"]),
    ):
        lines = printed(render_check, report, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)
        (header,) = [line.split() for line in lines if line.startswith("requirement")]
        assert header == headers
        assert any(line.startswith("baseline-step-time") for line in lines)
