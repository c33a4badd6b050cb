"""What applications import: complete, documented, named by the house's rules, alike in both colours."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import streamproof

PUBLIC = sorted(streamproof.__all__)
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(streamproof, name))]
TWINS = sorted(name.removeprefix("Async") for name in PUBLIC if name.startswith("Async"))

FORBIDDEN_WORDS = re.compile(r"util|common|helper|manager|base", re.IGNORECASE)
MEASURES = re.compile(r"timeout|interval|delay|linger|retention|duration")
UNITS = ("_s", "_ms", "_bytes", "_records")


def attributes(name: str) -> Iterator[tuple[str, Any]]:
    """The public attributes that the class itself defines, and those of its own ancestors."""
    kind = getattr(streamproof, name)
    for ancestor in kind.__mro__:
        if ancestor.__module__.startswith("streamproof"):
            for attribute, value in vars(ancestor).items():
                if not attribute.startswith("_"):
                    yield attribute, value


def verbs(name: str) -> list[tuple[str, Any]]:
    """Methods and properties."""
    return [
        (attribute, value)
        for attribute, value in attributes(name)
        if inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
    ]


def function_of(verb: Any) -> Any:
    """What is behind a method or property."""
    return verb.fget if isinstance(verb, property) else getattr(verb, "__func__", verb)


VERBS = [(name, attribute, value) for name in CLASSES for attribute, value in verbs(name)]
VERB_IDS = [f"{name}.{attribute}" for name, attribute, _ in VERBS]


def test_all_is_what_there_is() -> None:
    imported = {
        name
        for name, value in vars(streamproof).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert imported == set(streamproof.__all__)


def test_all_is_sorted_and_has_nothing_twice() -> None:
    assert sorted(set(streamproof.__all__)) == list(streamproof.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(streamproof, name)
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert text
    assert not text.startswith(f"{name}("), "a dataclass' signature is no documentation"


@pytest.mark.parametrize(("name", "attribute", "value"), VERBS, ids=VERB_IDS)
def test_every_verb_has_a_docstring(name: str, attribute: str, value: Any) -> None:
    assert inspect.getdoc(value), f"{name}.{attribute} says nothing"


@pytest.mark.parametrize(("name", "attribute", "value"), VERBS, ids=VERB_IDS)
def test_every_verb_says_its_types(name: str, attribute: str, value: Any) -> None:
    signature = inspect.signature(function_of(value))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty, f"{parameter.name} of {name}.{attribute}"


@pytest.mark.parametrize("name", PUBLIC)
def test_names_say_what_things_are(name: str) -> None:
    assert not FORBIDDEN_WORDS.search(name)
    if name in CLASSES:
        assert not [attribute for attribute, _ in attributes(name) if FORBIDDEN_WORDS.search(attribute)]


@pytest.mark.parametrize(("name", "attribute", "value"), VERBS, ids=VERB_IDS)
def test_measures_end_with_their_unit(name: str, attribute: str, value: Any) -> None:
    for parameter in inspect.signature(function_of(value)).parameters:
        if MEASURES.search(parameter):
            assert parameter.endswith(UNITS), f"{parameter} of {name}.{attribute} has no unit"


@pytest.mark.parametrize("name", CLASSES)
def test_flags_read_as_statements(name: str) -> None:
    hints = getattr(getattr(streamproof, name), "__annotations__", {})
    flags = [field for field, kind in hints.items() if kind in (bool, "bool")]
    allowed = ("is_", "has_", "can_")
    words = {"retriable", "definite"}  # adjectives, as every error carries them
    assert [flag for flag in flags if not flag.startswith(allowed) and flag not in words] == []


@pytest.mark.parametrize("name", TWINS)
def test_both_colours_have_the_same_verbs(name: str) -> None:
    blocking = {attribute for attribute, _ in attributes(name)}
    coroutine = {attribute for attribute, _ in attributes(f"Async{name}")}
    assert blocking == coroutine


@pytest.mark.parametrize("name", TWINS)
def test_both_colours_take_the_same_arguments(name: str) -> None:
    coroutine = dict(verbs(f"Async{name}"))
    for attribute, value in verbs(name):
        if inspect.isfunction(value):
            ours = inspect.signature(value).parameters
            theirs = inspect.signature(coroutine[attribute]).parameters
            assert list(ours) == list(theirs), f"{name}.{attribute}"
            assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]


def test_every_error_has_one_root_and_says_what_to_do_next() -> None:
    errors = [
        getattr(streamproof, name) for name in CLASSES if issubclass(getattr(streamproof, name), Exception)
    ]
    for error in errors:
        assert issubclass(error, streamproof.StreamproofError)
        assert isinstance(error.retriable, bool)
        assert isinstance(error.definite, bool)
    indefinite = {error.__name__ for error in errors if not error.definite}
    assert indefinite == {"DeliveryUnknown", "TransactionUnknown"}


def test_one_error_can_differ_from_its_class() -> None:
    error = streamproof.TimedOut("still under way", definite=False)
    assert (error.retriable, error.definite) == (True, False)
    assert streamproof.TimedOut("x").definite
    assert streamproof.OffsetOutOfRange("x", log_start=7).log_start == 7
