"""Moves that go nowhere, elsewhere, or where there is nothing; and flags that are not true."""

from typing import Any

from streamproof import AtTime, NotAssigned, OffsetOutOfRange, Unsupported
from streamproof_harness.conformance.mutants.mutant import Mutant, Through


class Seeking(Through):
    """A consumer at the seam whose every move goes through ``seek_one``."""

    def seek(self, partitions: Any, to: Any, timeout_s: float) -> None:
        for log in partitions:
            self.seek_one(log, to, timeout_s)

    def seek_one(self, log: Any, to: Any, timeout_s: float) -> None:
        self.inner.seek((log,), to, timeout_s)


class StaysWhereItIs(Mutant):
    caught_by = (
        "test_an_offset_can_be_read_again_and_again",
        "test_the_ends_are_places_too",
        "test_a_time_is_the_first_record_from_then_on",
        "test_only_the_chosen_logs_move",
    )

    class Consumer(Seeking):
        def seek_one(self, *arguments: Any) -> None:
            """Nothing."""


class LandsOneTooFar(Mutant):
    caught_by = ("test_an_offset_can_be_read_again_and_again",)

    class Consumer(Seeking):
        def seek_one(self, log: Any, to: Any, timeout_s: float) -> None:
            self.inner.seek((log,), to + 1 if isinstance(to, int) else to, timeout_s)


class TakesTheEndForTheBeginning(Mutant):
    caught_by = ("test_the_ends_are_places_too",)

    class Consumer(Seeking):
        def seek_one(self, log: Any, to: Any, timeout_s: float) -> None:
            self.inner.seek((log,), "beginning" if to == "end" else to, timeout_s)


class LandsBeforeTheTime(Mutant):
    caught_by = ("test_a_time_is_the_first_record_from_then_on",)

    class Consumer(Seeking):
        def seek_one(self, log: Any, to: Any, timeout_s: float) -> None:
            to = AtTime(max(0, to.timestamp_ms - 3_600_000)) if isinstance(to, AtTime) else to
            self.inner.seek((log,), to, timeout_s)


class MovesEverything(Mutant):
    caught_by = ("test_only_the_chosen_logs_move",)

    class Consumer(Through):
        def seek(self, partitions: Any, to: Any, timeout_s: float) -> None:
            self.inner.seek(self.inner.assignment(), to, timeout_s)


class MovesBehindTheLedger(Mutant):
    caught_by = ("test_moving_forgets_what_was_given_back",)

    class HeldConsumer(Through):
        def seek(self, to: Any, partitions: Any = None, timeout_s: float = 1.0) -> None:
            self.inner._driver.seek(partitions or self.inner.assignment(), to, timeout_s)


class LandsInsideWhateverIsAsked(Mutant):
    caught_by = (
        "test_beyond_the_end_is_out_of_range",
        "test_below_the_log_start_is_out_of_range",
    )

    class Consumer(Seeking):
        def seek_one(self, log: Any, to: Any, timeout_s: float) -> None:
            ends = self.inner.watermarks((log,), timeout_s)[log]
            to = min(max(to, ends.begin), ends.end) if isinstance(to, int) else to
            self.inner.seek((log,), to, timeout_s)


class ForgetsToTrim(Mutant):
    caught_by = ("test_below_the_log_start_is_out_of_range",)

    class Admin(Through):
        def delete_records(self, *arguments: Any) -> None:
            """Nothing."""


class MovesStrangers(Mutant):
    caught_by = ("test_a_log_that_is_not_held_cannot_be_moved",)

    class Consumer(Seeking):
        def seek_one(self, *arguments: Any) -> None:
            try:
                super().seek_one(*arguments)
            except NotAssigned:
                return


class SkipsBeyondTheEnd(Mutant):
    caught_by = ("test_beyond_the_end_is_out_of_range",)

    class Consumer(Through):
        def poll(self, *bounds: Any) -> Any:
            try:
                return self.inner.poll(*bounds)
            except OffsetOutOfRange:
                return []

        def seek(self, *arguments: Any) -> None:
            try:
                self.inner.seek(*arguments)
            except OffsetOutOfRange:
                return


class RefusesNothing(Mutant):
    caught_by = ("test_every_move_that_is_missing_is_refused",)
    flags = {"can_seek": False, "can_seek_time": False}  # noqa: RUF012

    class HeldConsumer(Through):
        def seek(self, *arguments: Any) -> None:
            try:
                self.inner.seek(*arguments)
            except Unsupported:
                return


class FlagsDisagree(Mutant):
    caught_by = ("test_the_flags_agree",)
    flags = {"has_group_offsets": False}  # noqa: RUF012


class KeepsWhatItSaysItCannot(Mutant):
    caught_by = ("test_headers_and_timestamps_that_cannot_be_kept_are_refused",)
    flags = {"has_headers": False, "has_timestamps": False}  # noqa: RUF012


class SaysItCompacts(Mutant):
    caught_by = ("test_compaction_is_described_or_refused",)
    flags = {"can_compact": True}  # noqa: RUF012
