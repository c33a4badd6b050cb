"""The Java that runs Kafka."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NEEDED = 17


@dataclass(frozen=True, slots=True)
class Java:
    """A ``java`` command and its major version (17, 21 …)."""

    command: str
    major: int


def find_java() -> Java | None:
    """``$JAVA_HOME/bin/java``, else ``java`` on the PATH; none if there is neither, or it does not run."""
    home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    command = command or shutil.which("java")
    if command is None:
        return None
    try:
        answer = subprocess.run(
            [command, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    major = java_major(answer.stderr + answer.stdout)
    return Java(command, major) if major is not None else None


def java_major(answer: str) -> int | None:
    """The major version in what ``java -version`` prints: 17 of "17.0.15", 8 of "1.8.0_402"."""
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(found[1]) if found else None
