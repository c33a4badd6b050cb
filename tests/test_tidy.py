"""The house's rules that a machine can see: imports, sizes, names, what stays out of the repository."""

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproof_harness.checkers import CHECKS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "streamproof": ROOT / "adapters/streamproof",
    "streamproof_harness": ROOT / "harness/streamproof_harness",
    "streamproof_scenarios": ROOT / "scenarios/streamproof_scenarios",
}

# The command line and its demonstrations stand on top of all rooms, though they lie in the harness.
ON_TOP = ("streamproof_harness.cli", "streamproof_harness.cli.demonstration")

# Below -> what it must never know of.
NEVER_UP = {
    "streamproof": ("streamproof_harness", "streamproof_scenarios"),
    "streamproof_harness": ("streamproof_scenarios", *ON_TOP),
    "streamproof_scenarios": ON_TOP,
    "streamproof.core": (
        "streamproof._async",
        "streamproof._sync",
        "streamproof.broker",
        "streamproof.delivery",
        "streamproof.drivers",
        "streamproof.streams",
    ),
    "streamproof.drivers": ("streamproof._async", "streamproof._sync", "streamproof.delivery"),
    "streamproof_harness.checkers": ("streamproof_harness.servers", "streamproof_harness.cli"),
}

# No I/O, no clock, no randomness: time and chance are passed in.
NOT_IN_CORE = {
    *("asyncio", "threading", "multiprocessing", "concurrent", "subprocess", "signal", "sched"),
    *("time", "datetime", "random", "secrets", "uuid"),
    *("io", "os", "pathlib", "socket", "ssl", "select", "selectors", "tempfile", "shutil", "logging"),
}

# Client library -> the only modules that may import it (a driver may be split over several files).
CLIENTS = {
    "confluent_kafka": "streamproof.drivers.kafka_confluent",
    "aiokafka": "streamproof.drivers.kafka_aiokafka",
    "pika": "streamproof.drivers.rabbitmq_pika",
    "aio_pika": "streamproof.drivers.rabbitmq_aio_pika",
    "aiormq": "streamproof.drivers.rabbitmq_aio_pika",
    "pamqp": "streamproof.drivers.rabbitmq_aio_pika",
    "rstream": "streamproof.drivers.rabbitmq_",
    "psycopg": "streamproof.delivery.stores.postgresql",
    "redis": "streamproof.delivery.stores.redis",
}

FORBIDDEN_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "base"}
MODULE_LINES = 600
FUNCTION_LINES = 70

# Written in two pieces, so that this file does not hold what it forbids.
NOT_IN_REPOSITORY = {
    "a package registry's address": "|".join(
        name + r"\." + domain
        for name, domain in (
            (r"\bpypi", "org"),
            ("pythonhosted", "org"),
            (r"repo1?\.maven(?:\.apache)?", "org"),
            ("registry.npmjs", "org"),
            (r"\bcrates", "io"),
            (r"proxy\.golang", "org"),
            (r"deb\.debian", "org"),
        )
    ),
    "a path of somebody's machine": "|".join(
        rf"(?<![\w.]){first}{second}"
        for first, second in (
            ("/work/", "(?:main|shared|\\.)"),
            ("/tmp/", "prep"),
            ("/home/", r"\w"),
            ("/root/", r"[\w.]"),
        )
    ),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the three packages: dotted name and file."""
    for package, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), file


def python_files() -> Iterator[Path]:
    """Every Python file of the house, tests and tools included."""
    for folder in ("adapters", "harness", "scenarios", "tests", "tools"):
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield ROOT / "dev"


def imports(module: str, file: Path) -> Iterator[tuple[str, int, bool]]:
    """What a module imports: dotted name, line, and whether that happens when it is imported itself.

    Imports for the type checker alone are left out: they know something only on paper.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    is_package = file.name == "__init__.py"
    pending: list[tuple[ast.AST, bool]] = [(tree, True)]
    while pending:
        node, is_eager = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend((child, is_eager) for child in node.orelse)
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            is_eager = False
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, is_eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                origin = ".".join([*above, origin]).rstrip(".")
            yield from ((f"{origin}.{alias.name}", node.lineno, is_eager) for alias in node.names)
        pending.extend((child, is_eager) for child in ast.iter_child_nodes(node))


def within(name: str, room: str) -> bool:
    """Is the dotted name that room, or in it?"""
    return name == room or name.startswith(f"{room}.")


def test_rooms_know_only_what_is_below_them():
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for module, file in modules()
        for name, line, _ in imports(module, file)
        for room, above in NEVER_UP.items()
        if within(module, room) and not any(within(module, top) for top in ON_TOP)
        if any(within(name, other) for other in above)
    ]
    assert found == []


def test_core_has_no_io_clock_or_randomness_of_its_own():
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for module, file in modules()
        if within(module, "streamproof.core")
        for name, line, _ in imports(module, file)
        if name.partition(".")[0] in NOT_IN_CORE
    ]
    assert found == []


def test_client_libraries_are_imported_in_their_own_driver_alone():
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {name}, which belongs to {CLIENTS[library]}*"
        for module, file in modules()
        for name, line, _ in imports(module, file)
        if (library := name.partition(".")[0]) in CLIENTS and not module.startswith(CLIENTS[library])
    ]
    assert found == []


def test_drivers_with_a_client_library_are_imported_lazily():
    # The rooms of stores import their client library late by themselves.
    drivers = tuple(room for room in CLIENTS.values() if within(room, "streamproof.drivers"))
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {name} at once: do it where it is first needed"
        for module, file in modules()
        if not module.startswith(drivers)
        for name, line, is_eager in imports(module, file)
        if is_eager and name.startswith(drivers)
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_client_library(package):
    program = f"""
        import sys
        import {package}
        print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {set(CLIENTS)!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_modules_and_functions_stay_small():
    found = []
    for file in python_files():
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > MODULE_LINES:
            found.append(f"{file.relative_to(ROOT)} has {lines} lines, {MODULE_LINES} at most")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert found == []


def test_nothing_is_called_by_a_name_that_says_nothing():
    found = []
    for file in python_files():
        parts = file.relative_to(ROOT).with_suffix("").parts
        found += [
            str(file.relative_to(ROOT)) for part in parts if FORBIDDEN_NAMES & set(part.lower().split("_"))
        ]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                words = {word.lower() for word in re.findall(r"[A-Z][a-z]*", node.name)}
                if FORBIDDEN_NAMES & words:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} class {node.name}")
    assert found == []


def test_every_check_stands_in_the_file_of_its_name():
    found = [
        f"{name} is judged by {check.judge.__module__}"
        for name, check in CHECKS.items()
        if check.judge.__module__
        != f"streamproof_harness.checkers.{name.removeprefix('internal-').replace('-', '_')}"
    ]
    judged = {check.judge.__module__ for check in CHECKS.values()}
    for module, file in modules():
        if within(module, "streamproof_harness.checkers") and "\ndef judge(" in file.read_text(
            encoding="utf-8"
        ):
            found += [f"{module} judges, but is no check of CHECKS"] if module not in judged else []
    assert found == []


def test_public_modules_say_what_they_are():
    found = [
        str(file.relative_to(ROOT))
        for _, file in modules()
        if file.stat().st_size and not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=PACKAGES.keys())
def test_types_are_published(folder):
    assert (folder / "py.typed").is_file()


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Every text file that git tracks here."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for name in filter(None, listing.stdout.split("\0")):
        file = ROOT / name
        data = file.read_bytes() if file.is_file() else b""
        if b"\0" not in data:
            yield file, data.decode(errors="replace")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout, so nothing is tracked")
@pytest.mark.parametrize("what", NOT_IN_REPOSITORY)
def test_the_repository_keeps_out(what):
    pattern = re.compile(NOT_IN_REPOSITORY[what])
    found = [
        f"{file.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"
        for file, text in tracked_texts()
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_these_rules_see_what_they_forbid(tmp_path):
    """The walk itself: what is imported lazily, for types only, relatively, and from a package."""
    file = tmp_path / "__init__.py"
    file.write_text(
        textwrap.dedent(
            """
            from typing import TYPE_CHECKING
            import time
            from ..drivers import memory
            from . import log
            if TYPE_CHECKING:
                import pika
            def later():
                import aiokafka.errors
            """
        )
    )
    found = {(name, is_eager) for name, _, is_eager in imports("streamproof.core", file)}
    assert found == {
        ("typing.TYPE_CHECKING", True),
        ("time", True),
        ("streamproof.drivers.memory", True),
        ("streamproof.core.log", True),
        ("aiokafka.errors", False),
    }
    address = "/".join(("https:", "", "pypi" + ".org", "simple"))
    assert re.search(NOT_IN_REPOSITORY["a package registry's address"], address)
    assert re.search(NOT_IN_REPOSITORY["a path of somebody's machine"], "see /work" + "/main/dev")
