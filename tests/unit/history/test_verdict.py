"""The verdict of a history, its JSON, and the command that prints it."""

import os
import subprocess
import sys

import msgspec
import pytest

from streamproof_harness import judging
from streamproof_harness.checkers import CHECKS, Check
from streamproof_harness.contract import ANOMALIES
from streamproof_harness.judging import NOT_YET, judge
from streamproof_harness.verdict import CheckVerdict, Example, Finding, HistoryVerdict, verdict_lines

HEADER = {"streamproof_history": 1, "run": "r", "backend": "memory://r", "seed": 7}


def history(*records, drained=True, **header):
    """Three sends to t/0, one poll of `records`, and a complete drain."""
    events = []
    for number, id_ in enumerate("abc"):
        send = {"topic": "t", "id": id_, "key": None, "seq": number, "crc": None}
        events += [{"type": "invoke", "op": "send", "call": number, **send}]
        events += [{"type": "ok", "op": "send", "call": number, "partition": 0, "offset": number}]
    events += [{"type": "invoke", "op": "poll", "call": 9, "process": "c1"}]
    events += [{"type": "ok", "op": "poll", "call": 9, "process": "c1", "records": [*map(list, records)]}]
    if drained:
        events += [{"type": "note", "op": "drained", "complete": True}]
    told = [{"index": n, "time": n, "process": "p1", **event} for n, event in enumerate(events)]
    return b"".join(msgspec.json.encode(line) + b"\n" for line in [HEADER | header, *told])


A, B, C = ("t", 0, 0, "a"), ("t", 0, 1, "b"), ("t", 0, 2, "c")
VALID, INVALID, UNDECIDED = history(A, B, C), history(A, C), history(A, B, drained=False)


def test_the_verdict_is_the_worst_among_forbidden_rows():
    assert judge(VALID).verdict == "valid"
    assert judge(INVALID).verdict == "invalid"
    assert judge(UNDECIDED).verdict == "unknown"
    assert judge(history(A, C, drained=False)).verdict == "invalid", "invalid goes before unknown"
    assert [judge(data).exit_status for data in (VALID, INVALID, UNDECIDED)] == [0, 1, 4]


def test_what_is_reported_or_allowed_does_not_count():
    severity = dict.fromkeys(("lost-write", "unseen", "internal-poll-skip"), "reported")
    verdict = judge(INVALID, {"severity": severity})
    assert verdict.verdict == "valid"
    assert verdict.checks["lost-write"].verdict == "invalid"


def test_json_has_every_check_in_the_order_of_the_table():
    told = judge(INVALID).as_json()
    assert list(told) == ["verdict", "events", "contract", "checks"]
    assert told["verdict"] == "invalid"
    assert told["events"] == 9
    assert told["contract"] == "at-least-once"
    assert list(told["checks"]) == list(ANOMALIES)
    for row in told["checks"].values():
        assert list(row) == ["verdict", "severity", "count", "examples"]
    assert told["checks"]["phantom"] == {
        "verdict": "valid",
        "severity": "forbidden",
        "count": 0,
        "examples": [],
    }
    lost = told["checks"]["lost-write"]
    assert lost["count"] == 1
    assert lost["examples"][0]["events"] == [2, 3, 7]
    assert "'b' was acknowledged" in lost["examples"][0]["text"]


def test_the_contract_of_the_header_holds_unless_another_is_given():
    data = history(A, C, contract={"base": "at-most-once"})
    assert judge(data).contract == "at-most-once"
    assert judge(data).checks["lost-write"].severity == "reported"
    assert judge(data, "exactly-once").contract == "exactly-once"
    assert judge(history(contract="exactly-once")).contract == "exactly-once"
    assert judge(history(contract={"name": "mine"})).contract == "mine"


def test_a_row_that_needs_a_missing_capability_is_unknown_and_allowed():
    data = history(A, C, drained=False, capabilities={"offsets": False, "generations": False})
    row = judge(data).checks["lost-write"]
    assert (row.verdict, row.severity, row.count, row.mark) == ("unknown", "allowed", 0, "–")
    assert "needs offsets, which the backend does not have" in row.note
    assert judge(data).checks["phantom"].verdict == "valid"
    named = judge(data, {"severity": {"lost-write": "forbidden", "unseen": "reported"}})
    assert named.checks["lost-write"].severity == "forbidden"
    assert named.verdict == "unknown"


@pytest.mark.parametrize("capabilities", [{}, {"offsets": True}, {"offsets": None}, {"offsets": "some"}])
def test_a_capability_is_missing_only_if_the_header_says_so(capabilities):
    assert judge(history(A, C, capabilities=capabilities)).checks["lost-write"].verdict == "invalid"


def test_too_little_evidence_is_unknown_and_never_hides_a_finding():
    few = {"evidence": {"phantom": 4, "poll-skip": 0}}
    row = judge(VALID, few).checks["phantom"]
    assert row.verdict == "unknown"
    assert row.note == "exercised 3 times, the contract asks for 4"
    assert judge(VALID, few).verdict == "unknown"
    assert judge(VALID, {"evidence": {"phantom": 3}}).verdict == "valid"
    assert judge(INVALID, {"evidence": {"lost-write": 1000}}).checks["lost-write"].verdict == "invalid"


def test_a_check_that_fails_is_unknown_and_says_why(monkeypatch: pytest.MonkeyPatch):
    def broken(terms, contract):
        raise ZeroDivisionError("no way")

    monkeypatch.setattr(judging, "CHECKS", {**CHECKS, "phantom": Check(broken)})
    verdict = judge(VALID)
    assert verdict.checks["phantom"].verdict == "unknown"
    assert verdict.checks["phantom"].note == "the check itself failed: ZeroDivisionError: no way"
    assert verdict.verdict == "unknown"
    assert verdict.as_json()["checks"]["phantom"]["examples"] == [
        {"events": [], "text": "the check itself failed: ZeroDivisionError: no way"}
    ]


def test_a_check_that_is_not_implemented_decides_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        judging, "CHECKS", {name: check for name, check in CHECKS.items() if name != "unseen"}
    )
    row = judge(VALID).checks["unseen"]
    assert (row.verdict, row.severity, row.note) == ("unknown", "allowed", NOT_YET)
    assert judge(VALID).verdict == "valid"
    assert judge(VALID, {"severity": {"unseen": "forbidden"}}).verdict == "unknown"


def test_examples_are_few_and_the_shortest_come_first():
    data = history(A, *(("t", 0, 100 + number, f"ghost-{number}") for number in range(25)), ("u", 0, 0, "c"))
    row = judge(data).checks["phantom"]
    assert row.count == 25
    assert len(row.examples) == 10
    lengths = [len(example.events) for example in row.examples]
    assert lengths == sorted(lengths)


def test_a_finding_that_was_made_is_never_unknown():
    assert Finding(count=1, undecided="not drained").verdict == "invalid"
    assert Finding(undecided="not drained").verdict == "unknown"
    assert Finding().verdict == "valid"


def test_plain_lines_for_people():
    lines = list(verdict_lines(judge(INVALID)))
    assert "invalid lost-write (forbidden, 1 found)" in lines
    assert "valid   phantom (forbidden)" in lines
    assert any(line.startswith("  'b' was acknowledged") and "(events 2, 3, 7)" in line for line in lines)
    assert lines[-1] == "invalid: 9 events under at-least-once"
    row = CheckVerdict("invalid", "forbidden", 3, (Example((1,), "x"),))
    assert "  and 2 more" in list(verdict_lines(HistoryVerdict(5, "c", {"phantom": row})))


class TestCommand:
    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        code = "from streamproof_harness.cli import main; main()"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, "check", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    @pytest.mark.parametrize(
        ("data", "verdict", "status"),
        [(VALID, "valid", 0), (INVALID, "invalid", 1), (UNDECIDED, "unknown", 4)],
    )
    def test_it_prints_the_verdict_and_exits_with_its_status(self, tmp_path, data, verdict, status):
        path = tmp_path / "h.jsonl"
        path.write_bytes(data)
        plain = self.run(path)
        assert (plain.returncode, plain.stderr) == (status, "")
        assert plain.stdout.splitlines()[-1].startswith(f"{verdict}: ")
        as_json = self.run(path, "--json")
        assert as_json.returncode == status
        assert msgspec.json.decode(as_json.stdout) == judge(data).as_json()

    def test_it_takes_a_contract(self, tmp_path):
        path = tmp_path / "h.jsonl"
        path.write_bytes(INVALID)
        severity = dict.fromkeys(("unseen", "lost-write", "internal-poll-skip"), "allowed")
        contract = tmp_path / "mine.json"
        contract.write_bytes(msgspec.json.encode({"severity": severity}))
        assert self.run(path, "--contract", contract).returncode == 0
        assert self.run(path, "--contract", "exactly-once").returncode == 1

    @pytest.mark.parametrize(
        ("content", "contract", "message"),
        [
            (VALID[:-20], None, "line 10: does not parse as JSON"),
            (b"{}", None, "line 1: no history"),
            (VALID, "nonsense", "no contract 'nonsense'"),
            (VALID.replace(b'"seed":7', b'"contract":{"base":"x"}'), None, "no contract base 'x'"),
            (None, None, "cannot read"),
        ],
    )
    def test_bad_input_is_one_clear_line_and_status_2(self, tmp_path, content, contract, message):
        path = tmp_path / "h.jsonl"
        if content is not None:
            path.write_bytes(content)
        done = self.run(path, *(["--contract", contract] if contract else []))
        assert done.returncode == 2
        assert done.stdout == ""
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
