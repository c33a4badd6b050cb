"""Why a run's verdict is what it is, as lines of text."""

from collections.abc import Iterator

from streamproof_harness.runner import Result


def reasons(result: Result) -> Iterator[str]:
    """What was found, the shortest proof of each, then false claims and wrong answers."""
    if result.failure is not None:
        yield f"the run did not come to its end: {result.failure}"
    if result.judgement is not None:
        for name, found in result.judgement.checks.items():
            if found.severity != "forbidden" or found.verdict == "valid":
                continue
            yield f"{name}: {found.verdict}" + (f", {found.count} found" if found.count else "")
            if found.note:
                yield f"  {found.note}"
            for example in found.examples[:3]:
                events = ", ".join(map(str, example.events))
                yield f"  {example.text}" + (f" (events {events})" if events else "")
    for is_true, text in result.claims:
        if not is_true:
            yield f"claim: it is not so that {text}"
    for group, answer in result.answers.items():
        if not answer.is_complete:
            wrong = f"{answer.lost} lost, {answer.corrupted} corrupted, {answer.foreign} foreign"
            yield f"answer of {group}: {wrong}"
    if result.expects == "invalid" and result.verdict == "valid":
        yield "this run must show the loss that its scenario is about, and did not: it proved nothing"
