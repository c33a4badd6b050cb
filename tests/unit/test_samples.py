"""The Python samples of the README and the documentation run as they stand."""

import asyncio
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _samples() -> list[object]:
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, block in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), start=1)
    ]


@pytest.mark.parametrize("sample", _samples())
def test_sample_runs(sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "sample"}
    exec(compile(sample, "sample", "exec"), names)
    for name, value in list(names.items()):
        # A sample that is a pytest test is run by the plugin's own tests; a main is run here.
        if name == "main" and asyncio.iscoroutinefunction(value):
            asyncio.run(value())
        elif name == "main" and callable(value):
            value()


def test_there_are_samples() -> None:
    assert len(_samples()) >= 3
