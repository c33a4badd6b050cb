"""A result as JSON."""

import dataclasses
from typing import Any

from streamproof_harness.runner import Result


def result_json(result: Result) -> dict[str, Any]:
    """Everything that is known of a run, in JSON types."""
    return {
        "scenario": result.scenario,
        "backend": result.backend,
        "colour": result.colour,
        "seed": result.seed,
        "verdict": result.verdict,
        "expects": result.expects,
        "is_as_expected": result.is_as_expected,
        "contract": result.instead or None,
        "failure": result.failure,
        "history": str(result.history),
        "measures": None if result.measures is None else dataclasses.asdict(result.measures),
        "claims": [{"is_true": is_true, "text": text} for is_true, text in result.claims],
        "lines": list(result.lines),
        "answers": {
            group: {
                "is_right": answer.is_right,
                "lost": answer.lost,
                "doubled": answer.doubled,
                "corrupted": answer.corrupted,
                "foreign": answer.foreign,
            }
            for group, answer in result.answers.items()
        },
        "judgement": None if result.judgement is None else result.judgement.as_json(),
    }
