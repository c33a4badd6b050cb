"""The client libraries' own loggers: silent about our connections only."""

import contextvars
import logging

import pytest

from streamproof.drivers.rabbitmq.quiet import quieten, silence_here

OURS = "streamproof.rabbitmq"


@pytest.fixture
def library(request: pytest.FixtureRequest) -> logging.Logger:
    name = f"library_of_{request.node.name}"
    logger = logging.getLogger(f"{name}.connection")
    quieten(name)
    return logger


def complain_as_ours(library: logging.Logger) -> None:
    silence_here()
    library.error("error when creating transport")


def test_what_a_library_says_of_our_connections_is_dropped(
    library: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, OURS):
        contextvars.copy_context().run(complain_as_ours, library)
        assert caplog.records == []


def test_what_it_says_of_others_is_not(library: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    contextvars.copy_context().run(complain_as_ours, library)
    library.error("the application's own")
    assert [record.message for record in caplog.records if record.name == library.name] == [
        "the application's own"
    ]


def test_for_whoever_looks_for_a_fault_it_speaks_again(
    library: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, OURS):
        contextvars.copy_context().run(complain_as_ours, library)
        assert [record.message for record in caplog.records] == ["error when creating transport"]
