"""The columnar checks against a naive reading of the definitions, on random small histories.

The reference knows what these stories can hold: fewer fields, the same definitions.
"""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.checkers.conftest import Story
from tests.unit.checkers.naive import Naive

TOPICS, PARTITIONS, OFFSETS, IDS = ("t", "u"), (0, 1), range(5), tuple("abcdef")
CONSUMERS, GROUPS = ("c1", "c2"), ("g", "h")


EXAMPLES = int(os.environ.get("STREAMPROOF_EXAMPLES", "80"))


places = st.tuples(st.sampled_from(TOPICS), st.sampled_from(PARTITIONS), st.sampled_from(OFFSETS))
logs = st.tuples(st.sampled_from(TOPICS), st.sampled_from(PARTITIONS)).map(list)
offsets = st.one_of(st.sampled_from(OFFSETS), st.none())


@st.composite
def stories(draw):
    """A story of up to 30 steps with few names, so that they meet."""
    story, open_calls, unsent = Story(), [], list(IDS)
    for _ in range(draw(st.integers(1, 30))):
        step = draw(st.integers(0, 24))
        consumer = draw(st.sampled_from(CONSUMERS))
        if step <= 5 and unsent:
            txn = draw(st.sampled_from([None, None, "x", "y"]))
            fields = {} if txn is None else {"txn": txn}
            process = draw(st.sampled_from(["p1", "p2"]))
            topic = draw(st.sampled_from(TOPICS))
            call = story.send(unsent.pop(0), topic, process, key=draw(st.sampled_from([None, "k"])), **fields)
            open_calls.append((call, draw(st.sampled_from(PARTITIONS)), draw(offsets)))
            if draw(st.booleans()):
                complete(draw, story, open_calls)
        elif step <= 7 and open_calls:
            complete(draw, story, open_calls)
        elif step <= 12:
            poll(draw, story, consumer)
        elif step >= 20:
            work(draw, story, consumer)
        else:
            happen(draw, story, step, consumer)
    return story


def complete(draw, story, open_calls):
    call, partition, offset = open_calls.pop(0)
    ending = draw(st.sampled_from(["ok", "ok", "ok", "fail", "info"]))
    if ending == "ok":
        story.ok(call, partition=partition, offset=offset)
    elif ending == "fail":
        story.fail(call)
    else:
        story.info(call, partition=partition, offset=offset)


def poll(draw, story, consumer):
    fields = {"group": draw(st.sampled_from(GROUPS))} if draw(st.booleans()) else {}
    if draw(st.integers(0, 3)) == 0:
        fields["isolation"] = "read_uncommitted"
    call = story.invoke(consumer, "poll", **fields)
    if draw(st.integers(0, 3)) == 0:
        happen(draw, story, draw(st.integers(13, 19)), draw(st.sampled_from(CONSUMERS)))
    records = draw(st.lists(st.tuples(places, offsets, st.sampled_from(IDS)), max_size=3))
    story.ok(call, records=[[place[0], place[1], offset, id_] for place, offset, id_ in records])


def work(draw, story, consumer):
    topic, partition, offset = draw(places)
    group = draw(st.sampled_from(GROUPS))
    if draw(st.booleans()):
        call = story.invoke(consumer, "commit", group=group, offsets=[[topic, partition, offset + 1]])
    else:
        place = {"topic": topic, "partition": partition, "offset": offset, "id": draw(st.sampled_from(IDS))}
        call = story.invoke(consumer, "handle", group=group, **place, attempt=1)
    draw(st.sampled_from([story.ok, story.ok, story.fail]))(call)


def happen(draw, story, step, consumer):
    log = draw(logs)
    if step == 13:
        partitions = draw(st.lists(logs, max_size=3, unique_by=tuple))
        positions = [[*pair, draw(st.sampled_from(OFFSETS))] for pair in partitions if draw(st.booleans())]
        fields = {"positions": positions} if positions else {}
        story.note(consumer, "assign", group="g", partitions=partitions, **fields)
    elif step == 14:
        story.note(consumer, draw(st.sampled_from(["revoke", "lost"])), group="g", partitions=[log])
    elif step == 15:
        call = story.invoke(consumer, "seek", offsets=[[*log, draw(st.sampled_from(OFFSETS))]])
        draw(st.sampled_from([story.ok, story.fail, story.info]))(call)
    elif step == 16:
        fields = {"topic": log[0], "partition": log[1], "offset": None, "id": draw(st.sampled_from(IDS))}
        call = story.invoke(consumer, "nack", group="g", **fields)
        draw(st.sampled_from([story.ok, story.fail]))(call)
    elif step == 17:
        op = draw(st.sampled_from(["crash", "open"]))
        reset = {"reset": "latest"} if draw(st.booleans()) and op == "open" else {}
        story.note(consumer, op, role="consumer", **reset)
    elif step == 18:
        choice = draw(st.integers(0, 2))
        if choice == 0:
            story.fault(draw(st.sampled_from(["start", "stop"])), draw(st.sampled_from(["kill", "cut"])))
        elif choice == 1:
            story.trimmed("/".join(map(str, [*log, draw(st.sampled_from(OFFSETS))])))
        else:
            story.drained(complete=draw(st.booleans()))
    else:
        end = {"txn": draw(st.sampled_from("xy")), "transactional_id": "p"}
        call = story.invoke("p1", "end", **end, commit=draw(st.booleans()))
        draw(st.sampled_from([story.ok, story.ok, story.fail, story.info]))(call)


CHECKS = {
    "lost-write": Naive.lost_write,
    "unseen": Naive.unseen,
    "phantom": Naive.phantom,
    "inconsistent-offset": Naive.inconsistent_offset,
    "log-duplicate": Naive.log_duplicate,
    "producer-reorder": Naive.producer_reorder,
    "internal-producer-reorder": lambda naive: naive.producer_reorder(is_internal=True),
    "poll-nonmonotonic": Naive.poll_nonmonotonic,
    "internal-poll-nonmonotonic": lambda naive: naive.poll_nonmonotonic(is_internal=True),
    "poll-skip": Naive.poll_skip,
    "internal-poll-skip": lambda naive: naive.poll_skip(is_internal=True),
    "consumed-while-unassigned": Naive.consumed_while_unassigned,
    "duplicate-delivery": Naive.duplicate_delivery,
    "commit-too-far": Naive.commit_too_far,
    "handler-reorder": Naive.handler_reorder,
    "ack-in-the-past": Naive.ack_in_the_past,
    "aborted-read": Naive.aborted_read,
    "early-read": Naive.early_read,
    "torn-transaction": Naive.torn_transaction,
}


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(stories())
def test_the_checks_agree_with_a_naive_reading(story):
    verdict = story.verdict()
    naive = Naive(story.events)
    for name, row in verdict.checks.items():
        assert "failed" not in row.note, (name, row.note)
    found = {name: verdict.checks[name].count for name in CHECKS}
    assert found == {name: count(naive) for name, count in CHECKS.items()}
