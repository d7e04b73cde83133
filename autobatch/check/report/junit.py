"""A check as a JUnit file: each requirement is a test case.

The elements and attributes are those that Jenkins' ``junit-10.xsd`` knows, which GitLab, Azure
and GitHub's reporters read as well. What is inconclusive is a skipped test case, or with
``strict`` a failed one.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from autobatch.check.records import CheckReport, Verdict
from autobatch.check.report.document import figures_of
from autobatch.check.report.wording import conclusion, sentence, typed_notes
from autobatch.records import Status
from autobatch.shell.flags import to_flags

_SUITE = "autobatch check"
# What XML 1.0 has no way to write.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def dumps_junit(report: CheckReport) -> bytes:
    """A check as UTF-8 encoded XML."""
    failing = [each for each in report.verdicts if _is_failing(each, report)]
    skipped = [
        each
        for each in report.verdicts
        if each.status is Status.INCONCLUSIVE and each not in failing
    ]
    counts = {
        "tests": str(len(report.verdicts)),
        "failures": str(len(failing)),
        "errors": "0",
        "time": f"{report.elapsed_s:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": _SUITE, **counts})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _SUITE, **counts, "skipped": str(len(skipped))}
    )
    _add_properties(suite, report)
    for each in report.verdicts:
        _add_case(suite, each, report)
    lines = "\n".join([*typed_notes(report), to_flags(conclusion(report))])
    ElementTree.SubElement(suite, "system-out").text = _legal(lines)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_properties(suite: ElementTree.Element, report: CheckReport) -> None:
    properties = {"devices": ", ".join(report.devices)}
    measurement = report.measurement
    if measurement is not None:
        properties |= {
            "batch_size": str(measurement.batch_size),
            "num_ranks": str(measurement.num_ranks),
            "precision": measurement.precision,
            "torch_version": measurement.environment.torch_version,
            **{name: _figure(value) for name, value in figures_of(measurement).items()},
        }
    holder = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(holder, "property", {"name": name, "value": _legal(value)})


def _add_case(suite: ElementTree.Element, verdict: Verdict, report: CheckReport) -> None:
    about = report.target or "hardware"
    case = ElementTree.SubElement(
        suite,
        "testcase",
        {"name": verdict.name, "classname": _legal(f"autobatch.check.{about}"), "time": "0"},
    )
    text = _legal(sentence(verdict))
    if _is_failing(verdict, report):
        about_it = {"type": verdict.status.value, "message": text}
        ElementTree.SubElement(case, "failure", about_it).text = text
    elif verdict.status is Status.INCONCLUSIVE:
        ElementTree.SubElement(case, "skipped", {"message": text})
    ElementTree.SubElement(case, "system-out").text = text


def _is_failing(verdict: Verdict, report: CheckReport) -> bool:
    if verdict.status is Status.INCONCLUSIVE:
        return report.settings.strict
    return verdict.status is Status.NOT_MET


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("?", text)
