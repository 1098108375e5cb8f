"""A comparison as JUnit XML: a suite for each candidate, a case for each gate."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from simcluster.comparison.comparison import Compared, Comparison, Row
from simcluster.comparison.differences import summarised
from simcluster.comparison.words import verdict_text

_UNPRINTABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent."""


def junit(found: Comparison, inconclusive_fails: bool = False) -> str:
    """
    Convert a comparison: FAIL is a failure, INCONCLUSIVE is skipped, or a failure if it counts as one.

    A candidate that is identical to its base has one case `identical` in addition to its limits.
    """
    root = Xml.Element("testsuites", name="simcluster compare")
    totals = dict.fromkeys(("tests", "failures", "skipped"), 0)
    for candidate in found.candidates:
        suite = _suite(found, candidate, inconclusive_fails)
        root.append(suite)
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
    for key, total in totals.items():
        root.set(key, str(total))
    root.set("errors", "0")
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(found: Comparison, candidate: Compared, inconclusive_fails: bool) -> Xml.Element:
    name = f"{found.base.name} to {candidate.side.name}"
    suite = Xml.Element("testsuite", name=_clean(name), errors="0")
    properties = Xml.SubElement(suite, "properties")
    for key, value in (
        ("status", candidate.status), ("base", found.base.file), ("candidate", candidate.side.file),
        ("worlds", str(len(candidate.side.rows))), ("alpha", f"{found.alpha:g}"),
        ("difference", summarised(found.base, candidate.side)),
    ):  # fmt: skip
        Xml.SubElement(properties, "property", name=key, value=_clean(value))
    if candidate.status == "identical":
        Xml.SubElement(suite, "testcase", name="identical", classname=_clean(name))
    for row in candidate.rows:
        if row.gate is not None:
            suite.append(_case(row, name, inconclusive_fails))
    cases = suite.findall("testcase")
    for key, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    return suite


def _case(row: Row, suite: str, inconclusive_fails: bool) -> Xml.Element:
    case = Xml.Element("testcase", name=str(row.gate), classname=_clean(suite))
    if row.verdict == "FAIL" or (row.verdict == "INCONCLUSIVE" and inconclusive_fails):
        kind = "regression" if row.verdict == "FAIL" else "inconclusive"
        Xml.SubElement(case, "failure", message=_clean(verdict_text(row)), type=kind)
    elif row.verdict == "INCONCLUSIVE":
        Xml.SubElement(case, "skipped", message=_clean(verdict_text(row)))
    else:
        Xml.SubElement(case, "system-out").text = _clean(verdict_text(row))
    return case


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
