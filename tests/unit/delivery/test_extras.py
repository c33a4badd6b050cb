"""Without its client library a store says what to install; without the store, nothing of it is loaded."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules[{library!r}] = None
import streamproof.delivery
from streamproof import MissingExtra
for colour in ("", "Async"):
    for name in {names!r}:
        try:
            getattr(streamproof.delivery, colour + name)({url!r})
        except MissingExtra as error:
            assert isinstance(error, ImportError)
            print(error)
"""


@pytest.mark.parametrize(
    ("library", "names", "url", "said"),
    [
        (
            "psycopg",
            ("PostgresqlStore", "PostgresqlOutbox"),
            "postgresql://h/d",
            "PostgreSQL needs psycopg, which is not installed: pip install 'streamproof[postgresql]'",
        ),
        (
            "redis",
            ("RedisStore",),
            "redis://h",
            "a Redis store needs redis, which is not installed: pip install 'streamproof[redis]'",
        ),
    ],
)
def test_a_missing_library_says_what_to_install(
    library: str, names: tuple[str, ...], url: str, said: str
) -> None:
    program = PROGRAM.format(library=library, names=names, url=url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [said] * (2 * len(names))


def test_the_stores_load_no_library_by_themselves() -> None:
    program = "import sys, streamproof.delivery; print({'psycopg', 'redis', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"
