"""Admins that do half of it, closes that are none, and misuse that is not noticed."""

import threading
from typing import Any

from streamproof import (
    ConfigurationError,
    TopicExists,
    UnknownTopic,
    UsageError,
)
from streamproof_harness.conformance.mutants.mutant import Mutant, Through


class ForgetsPartitions(Mutant):
    caught_by = ("test_a_topic_can_be_used_as_soon_as_it_is_created", "test_topics_are_listed_and_described")

    class HeldAdmin(Through):
        def create_topic(self, name: str, partitions: int = 1, **settings: Any) -> None:
            self.inner.create_topic(name, **settings)


class ListsNothing(Mutant):
    caught_by = ("test_topics_are_listed_and_described", "test_namespaces_do_not_meet")

    class Admin(Through):
        def list_topics(self, timeout_s: float) -> list[str]:
            return []


class CreatesOnlyTheFirst(Mutant):
    caught_by = ("test_several_are_created_at_once",)

    class Admin(Through):
        def create_topics(self, topics: Any, timeout_s: float) -> None:
            self.inner.create_topics(topics[:1], timeout_s)


class CreatesTwice(Mutant):
    caught_by = ("test_a_topic_that_is_there_is_not_made_again",)

    class Admin(Through):
        def create_topics(self, topics: Any, timeout_s: float) -> None:
            try:
                self.inner.create_topics(topics, timeout_s)
            except TopicExists:
                return


class DeletesNothing(Mutant):
    caught_by = ("test_a_deleted_topic_is_gone",)

    class Admin(Through):
        def delete_topics(self, *arguments: Any) -> None:
            """Nothing."""


class DescribesAnything(Mutant):
    caught_by = ("test_a_topic_nobody_made_is_unknown", "test_a_deleted_topic_is_gone")

    class Admin(Through):
        def describe_topics(self, *arguments: Any) -> Any:
            try:
                return self.inner.describe_topics(*arguments)
            except UnknownTopic:
                return [None]


class ForgetsRetention(Mutant):
    caught_by = ("test_retention_is_described_or_refused",)

    class HeldAdmin(Through):
        def create_topic(self, name: str, partitions: int = 1, **settings: Any) -> None:
            self.inner.create_topic(name, partitions)


class NamespacesMeet(Mutant):
    caught_by = ("test_namespaces_do_not_meet",)

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name != "namespace"}


class NoticesNoMisuse(Mutant):
    caught_by = (
        "test_a_reader_keeps_no_progress",
        "test_offsets_that_cannot_be_are_refused",
        "test_what_is_no_place_is_refused",
        "test_a_number_of_records_that_cannot_be_is_refused",
        "test_names_and_counts_that_cannot_be_are_refused",
        "test_a_closed_producer_says_so",
        "test_a_closed_consumer_says_so",
        "test_arguments_of_a_wrong_type_are_refused_and_not_sent",
    )

    class HeldProducer(Through):
        def __getattr__(self, name: str) -> Any:
            return _tolerant(getattr(self.inner, name))

    HeldConsumer = HeldAdmin = HeldProducer


def _tolerant(verb: Any) -> Any:
    if not callable(verb):
        return verb

    def tried(*arguments: Any, **options: Any) -> Any:
        try:
            return verb(*arguments, **options)
        except (UsageError, ConfigurationError):
            return None

    return tried


class ClosesOnlyOnce(Mutant):
    caught_by = ("test_closing_twice_does_nothing",)

    class HeldConsumer(Through):
        def close(self, *bounds: Any, **more: Any) -> None:
            if self.inner.is_closed:
                raise UsageError("closed already")
            self.inner.close(*bounds, **more)


class LeavesItsPartsOpen(Mutant):
    caught_by = ("test_closing_the_bus_closes_its_parts_and_keeps_progress",)

    def close_bus(self, bus: Any, timeout_s: float) -> None:
        bus._driver.close(timeout_s)


class OnlyHoldsTheDoor(Mutant):
    caught_by = ("test_a_with_block_closes",)

    class HeldConsumer(Through):
        def __exit__(self, *error: object) -> None:
            """Nothing."""


class ForgetsAThread(Mutant):
    caught_by = ("test_nothing_is_left_running",)

    def __init__(self) -> None:
        self.is_over = threading.Event()

    class HeldProducer(Through):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            threading.Thread(target=self.mutant.is_over.wait, args=(30.0,), daemon=True).start()


class ForgetsAThreadOnFailure(Mutant):
    caught_by = ("test_a_consumer_that_could_not_start_leaves_nothing_behind",)

    def __init__(self) -> None:
        self.is_over = threading.Event()

    class Consumer(Through):
        def start(self, *arguments: Any) -> None:
            threading.Thread(target=self.mutant.is_over.wait, args=(30.0,), daemon=True).start()
            self.inner.start(*arguments)


class TakesAnyOption(Mutant):
    caught_by = ("test_an_unknown_option_of_the_url_is_refused",)

    def url(self, url: str) -> str:
        return url.partition("?")[0]


class IsAlwaysAtHome(Mutant):
    caught_by = ("test_nobody_at_home_is_unreachable",)
    suite = {"unreachable_url": "memory://nobody"}  # noqa: RUF012
