"""Lines are found again by number, wherever the megabytes in which they are looked for begin."""

import pytest

from streamproof_harness.history.loading import _CHUNK, _line_reader

CONTENTS = {
    "short": b"a\nbb\n\nccc\n",
    "without a last newline": b"a\nbb",
    "one line": b"h\n",
    "a newline ends a chunk": b"x" * (_CHUNK - 1) + b"\n" + b"y\n" * 5,
    "a line over several chunks": b"a\n" + b"z" * (3 * _CHUNK) + b"\nend\n",
    "many": b"".join(b"%d\n" % number for number in range(300_000)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_line_is_found(name):
    content = CONTENTS[name]
    lines = content.split(b"\n")
    line_of = _line_reader(content)
    count = len(lines) - content.endswith(b"\n")
    numbers = {*range(min(count, 20)), *range(count // 2, min(count, count // 2 + 20)), count - 1}
    assert {number: line_of(number) for number in numbers} == {number: lines[number] for number in numbers}
