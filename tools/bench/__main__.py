"""``python -m tools.bench``: measure, and print the table."""

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from streamproof.errors import MissingExtra
from tools.bench import tables
from tools.bench.brokers import BrokerAbsent, Brokers
from tools.bench.machine import load, machine
from tools.bench.rows import Row
from tools.bench.runs import Rows, Session

MODULES = ("kafka", "kafka_async", "rabbitmq", "memory", "latency", "recording", "checking")

Measurement = Callable[[Session], Rows]


def measurements() -> dict[str, Measurement | str]:
    """Every measurement by its name, in the table's order; in place of those whose client library
    is missing, why."""
    found: dict[str, Measurement | str] = {}
    for module in MODULES:
        try:
            members: Mapping[str, Measurement] = import_module(f"tools.bench.{module}").MEASUREMENTS
            found.update(members)
        except ImportError as error:
            found[module.replace("_", "-")] = f"not measured: {error}"
    return found


def measure(name: str, measurement: Measurement | str, session: Session) -> list[Row]:
    """Its rows; one that says why, where there is nothing to measure."""
    if isinstance(measurement, str):
        return [Row(name, name, absent=measurement)]
    rows: list[Row] = []
    try:
        rows.extend(measurement(session))
    except (BrokerAbsent, MissingExtra, ImportError) as absent:
        rows.append(Row(name, name, absent=f"not measured: {absent}"))
    except Exception as failure:
        # One that fails must not take the others' figures with it; it shows in the exit status.
        traceback.print_exc()
        rows.append(Row(name, name, absent=f"failed: {type(failure).__name__}: {failure}"))
    return rows


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="what has this in its name"
    )
    parser.add_argument("--quick", action="store_true", help="three runs of a fifth of the records")
    parser.add_argument("--runs", type=int, help="of each measurement; 7 unless told otherwise")
    parser.add_argument("--fraction", type=float, help="of the usual number of records")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page as well")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: take figures of --json")
    given = parser.parse_args()
    if given.runs is None:
        given.runs = 3 if given.quick else 7
    if given.fraction is None:
        given.fraction = 0.2 if given.quick else 1.0
    if given.runs < 1 or given.fraction <= 0:
        parser.error("--runs is 1 or more, --fraction more than 0")
    return given


def measured(given: argparse.Namespace, chosen: Mapping[str, Measurement | str]) -> tables.Report:
    """Run what was chosen, saying so as it goes."""
    rows: list[Row] = []
    before = load()
    with Brokers() as brokers:
        session = Session(given.runs, given.fraction, brokers)
        for name, measurement in chosen.items():
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            rows.extend(measure(name, measurement, session))
        head = {
            **machine(),
            **{f"broker, {kind}": told for kind, told in brokers.described().items()},
            "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, median of {given.runs} (lowest–highest), "
            f"load of the machine before: {before:.1f}"
            + ("" if given.fraction == 1 else f"; {given.fraction:g} of the usual number of records"),
        }
    return tables.Report(head, rows)


def main() -> int:
    """Exit status 1 if a measurement failed; one that is not possible here is no failure."""
    given = arguments()
    if given.read is not None:
        report = tables.load(given.read)
    else:
        known = measurements()
        chosen = {
            name: found
            for name, found in known.items()
            if not given.only or any(part in name for part in given.only)
        }
        if given.list or not chosen:
            print("\n".join(known))
            return 0 if given.list else 2
        report = measured(given, chosen)
    print(tables.text(report))
    if given.json is not None:
        tables.save(given.json, report)
    if given.write is not None:
        tables.write_page(given.write, report)
    return 1 if any(row.absent.startswith("failed") for row in report.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
