"""Refusals: what each missing capability, and only that one, forbids."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamproof.capabilities import Capabilities
from streamproof.errors import Unsupported, UsageError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import AtTime, TopicSpec
from streamproof.refusals import (
    require_consumer,
    require_group,
    require_offsets,
    require_producer,
    require_seek,
    require_topic,
)

EVERYTHING = Capabilities(
    acknowledgement="offset",
    has_send_offsets=True,
    has_group_offsets=True,
    has_generations=True,
    can_seek=True,
    can_seek_time=True,
    can_replay=True,
    can_match_pattern=True,
    can_retain=True,
    can_compact=True,
    can_transact=True,
    has_idempotence=True,
)
IN_GROUP = ConsumerOptions(topics=("t",), group="g")
ALONE = ConsumerOptions(topics=("t",))

REFUSED: dict[str, tuple[str, Callable[[Capabilities], None]]] = {
    "offsets in a group": ("has_group_offsets", lambda can: require_offsets(can, IN_GROUP, "lag")),
    "offsets alone": ("can_replay", lambda can: require_offsets(can, ALONE, "lag")),
    "seek in a group": ("can_seek", lambda can: require_seek(can, IN_GROUP, 5)),
    "seek to an end in a group": ("can_seek", lambda can: require_seek(can, IN_GROUP, "end")),
    "seek to a time in a group": ("can_seek_time", lambda can: require_seek(can, IN_GROUP, AtTime(1))),
    "seek alone": ("can_replay", lambda can: require_seek(can, ALONE, AtTime(1))),
    "a pattern": ("can_match_pattern", lambda can: require_consumer(can, ConsumerOptions(pattern="t.*"))),
    "reading without a group": ("can_replay", lambda can: require_consumer(can, ALONE)),
    "transactions": (
        "can_transact",
        lambda can: require_producer(can, ProducerOptions(transactional_id="x")),
    ),
    "compaction": ("can_compact", lambda can: require_topic(can, TopicSpec("t", is_compacted=True))),
    "retention by time": ("can_retain", lambda can: require_topic(can, TopicSpec("t", retention_ms=1))),
    "retention by size": ("can_retain", lambda can: require_topic(can, TopicSpec("t", retention_bytes=1))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_missing_capability_is_refused_with_a_remedy(name: str) -> None:
    flag, require = REFUSED[name]
    require(EVERYTHING)
    with pytest.raises(Unsupported, match=r": |; "):
        require(replace(EVERYTHING, **{flag: False}))  # type: ignore[arg-type]


NOTHING = replace(
    EVERYTHING,
    acknowledgement="message",
    **{name: False for name in EVERYTHING.as_mapping() if name != "acknowledgement"},
)


def test_plain_use_needs_no_capability() -> None:
    require_consumer(NOTHING, IN_GROUP)
    require_producer(NOTHING, ProducerOptions())
    require_topic(NOTHING, TopicSpec("t", partitions=8))
    require_group(IN_GROUP, "commit")


def test_a_flag_that_is_on_may_still_need_another() -> None:
    with pytest.raises(Unsupported):
        require_seek(replace(NOTHING, can_seek_time=True), IN_GROUP, AtTime(1))


def test_progress_needs_a_group() -> None:
    with pytest.raises(UsageError, match="commit needs a group"):
        require_group(ALONE, "commit")


def test_the_flags_can_be_shown_by_name() -> None:
    shown = EVERYTHING.as_mapping()
    assert shown.pop("acknowledgement") == "offset"
    assert set(shown.values()) == {True}
