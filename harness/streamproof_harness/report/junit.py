"""Results as JUnit XML, the form that CI systems read."""

from collections.abc import Sequence
from xml.etree import ElementTree

from streamproof_harness.report.reasons import reasons
from streamproof_harness.runner import Result


def junit_xml(results: Sequence[Result]) -> bytes:
    """One suite a backend and colour, one case a scenario."""
    root = ElementTree.Element("testsuites", name="streamproof")
    for suite in dict.fromkeys(f"{result.backend}.{result.colour}" for result in results):
        own = [result for result in results if f"{result.backend}.{result.colour}" == suite]
        element = ElementTree.SubElement(
            root,
            "testsuite",
            name=suite,
            tests=str(len(own)),
            failures=str(sum(not result.is_as_expected and result.failure is None for result in own)),
            errors=str(sum(result.failure is not None for result in own)),
        )
        for result in own:
            _case(element, result)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", name=result.scenario, classname=f"streamproof.{result.backend}.{result.colour}"
    )
    properties = ElementTree.SubElement(case, "properties")
    for name, value in (("seed", result.seed), ("history", result.history), ("verdict", result.verdict)):
        ElementTree.SubElement(properties, "property", name=name, value=str(value))
    if result.is_as_expected:
        return
    kind = "failure" if result.failure is None else "error"
    text = "\n".join(reasons(result))
    ElementTree.SubElement(case, kind, message=text.partition("\n")[0]).text = text
