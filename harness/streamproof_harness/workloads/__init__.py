"""Synthetic traffic from a seed, and the right answer to it.

``workload("sensors", seed=7)`` makes one; ``WORKLOADS`` lists them. See ``workload.Workload`` for
what it can do and ``oracle.Oracle`` for how an outcome is judged.
"""

from streamproof_harness.workloads.answer import Answer, Mean, Members, Table
from streamproof_harness.workloads.oracle import Oracle, OracleReport, Row
from streamproof_harness.workloads.registry import WORKLOADS, WorkloadKind, workload
from streamproof_harness.workloads.rendering import report_lines
from streamproof_harness.workloads.waves import waves
from streamproof_harness.workloads.workload import ID_HEADER, Message, Workload

__all__ = [
    "ID_HEADER",
    "WORKLOADS",
    "Answer",
    "Mean",
    "Members",
    "Message",
    "Oracle",
    "OracleReport",
    "Row",
    "Table",
    "Workload",
    "WorkloadKind",
    "report_lines",
    "waves",
    "workload",
]
