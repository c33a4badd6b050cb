"""Outcomes of sends: settled once, read by many threads or coroutines, callbacks run exactly once."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from streamproof.deliveries import AsyncDeliveries, AsyncDelivery, Deliveries, Delivery, Outcome
from streamproof.errors import DeliveryUnknown, RecordTooLarge, TimedOut
from streamproof.namespaced_deliveries import (
    AsyncNamespacedDeliveries,
    AsyncNamespacedDelivery,
    NamespacedDeliveries,
    NamespacedDelivery,
)
from streamproof.records import Receipt

RECEIPT = Receipt("topic", 1, 42, 1_700_000_000_000)
FAILED = RecordTooLarge("too large")
UNKNOWN = DeliveryUnknown("no word")
PATIENCE_S = 30.0


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns a thousand times as often as by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def run_together(*parts: Callable[[], object]) -> None:
    """Run each part on a thread of its own, started as close together as can be."""
    gate = threading.Barrier(len(parts))
    errors: list[BaseException] = []

    def run(part: Callable[[], object]) -> None:
        try:
            gate.wait(PATIENCE_S)
            part()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(RECEIPT, Outcome.ACKNOWLEDGED), (FAILED, Outcome.FAILED), (UNKNOWN, Outcome.UNKNOWN)],
)
@pytest.mark.parametrize("colour", [Delivery, AsyncDelivery])
def test_the_outcome_is_the_answer(
    colour: type[Delivery] | type[AsyncDelivery], answer: object, outcome: Outcome
) -> None:
    delivery = colour()
    assert (delivery.outcome, delivery.is_settled) == (Outcome.PENDING, False)
    assert (delivery.receipt, delivery.error) == (None, None)
    delivery.settle(answer)  # type: ignore[arg-type]
    assert (delivery.outcome, delivery.is_settled) == (outcome, True)
    assert delivery.receipt is (answer if outcome is Outcome.ACKNOWLEDGED else None)
    assert delivery.error is (None if outcome is Outcome.ACKNOWLEDGED else answer)
    assert outcome.value in repr(delivery)


def test_only_the_first_answer_counts() -> None:
    delivery = Delivery()
    delivery.settle(UNKNOWN)
    delivery.settle(RECEIPT)
    assert delivery.error is UNKNOWN


class TestForThreads:
    def test_result_waits_for_another_thread(self) -> None:
        delivery = Delivery()
        results: list[Receipt] = []
        run_together(lambda: results.append(delivery.result(PATIENCE_S)), lambda: delivery.settle(RECEIPT))
        assert results == [RECEIPT]

    def test_result_raises_the_error(self) -> None:
        delivery = Delivery()
        delivery.settle(FAILED)
        with pytest.raises(RecordTooLarge, match="too large"):
            delivery.result()

    def test_result_is_bounded_and_the_send_goes_on(self) -> None:
        delivery = Delivery()
        with pytest.raises(TimedOut, match="under way") as caught:
            delivery.result(0.0)
        assert not caught.value.definite
        delivery.settle(RECEIPT)
        assert delivery.result(0.0) == RECEIPT

    def test_callbacks_run_once_in_order_before_and_after(self) -> None:
        delivery, heard = Delivery(), list[object]()
        delivery.add_done_callback(lambda done: heard.append((1, done)))
        delivery.add_done_callback(lambda done: heard.append((2, done)))
        assert heard == []
        delivery.settle(RECEIPT)
        delivery.settle(RECEIPT)
        delivery.add_done_callback(lambda done: heard.append((3, done)))
        assert heard == [(1, delivery), (2, delivery), (3, delivery)]

    def test_a_callback_that_raises_is_logged_and_hurts_nobody(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        delivery, heard = Delivery(), list[object]()

        def fail(_: Delivery) -> None:
            raise RuntimeError("a bug of the application")

        delivery.add_done_callback(fail)
        delivery.add_done_callback(heard.append)
        with caplog.at_level(logging.ERROR, "streamproof.delivery"):
            delivery.settle(RECEIPT)
            delivery.add_done_callback(fail)
        assert heard == [delivery]
        assert [record.name for record in caplog.records] == ["streamproof.delivery"] * 2
        assert "a bug of the application" in caplog.text

    @pytest.mark.usefixtures("frequent_switches")
    def test_settling_races_with_callbacks_and_results(self) -> None:
        for _ in range(300):
            delivery, heard = Delivery(), list[object]()
            results: list[Receipt] = []

            def listen(delivery: Delivery = delivery, heard: list[object] = heard) -> None:
                for _ in range(3):
                    delivery.add_done_callback(heard.append)

            def wait(delivery: Delivery = delivery, results: list[Receipt] = results) -> None:
                results.append(delivery.result(PATIENCE_S))

            def settle(delivery: Delivery = delivery) -> None:
                delivery.settle(RECEIPT)

            run_together(listen, listen, wait, settle)
            assert heard == [delivery] * 6
            assert results == [RECEIPT]

    @pytest.mark.usefixtures("frequent_switches")
    def test_the_outcome_does_not_change_once_read(self) -> None:
        for _ in range(300):
            delivery, seen = Delivery(), list[object]()

            def read(delivery: Delivery = delivery, seen: list[object] = seen) -> None:
                try:
                    seen.append(delivery.result(PATIENCE_S))
                except DeliveryUnknown as error:
                    seen.append(error)

            run_together(
                read,
                read,
                lambda delivery=delivery: delivery.settle(RECEIPT),  # type: ignore[misc]
                lambda delivery=delivery: delivery.settle(UNKNOWN),  # type: ignore[misc]
            )
            read()
            assert len(set(map(id, seen))) == 1


class TestForCoroutines:
    def test_awaiting_gives_the_receipt(self) -> None:
        async def main() -> None:
            delivery = AsyncDelivery()
            asyncio.get_running_loop().call_soon(delivery.settle, RECEIPT)
            assert await delivery == RECEIPT
            assert await delivery == RECEIPT
            assert await delivery.result(0.0) == RECEIPT

        asyncio.run(main())

    def test_several_may_wait(self) -> None:
        async def main() -> None:
            delivery = AsyncDelivery()
            waiting = [asyncio.ensure_future(delivery.result(PATIENCE_S)) for _ in range(3)]
            await asyncio.sleep(0)
            delivery.settle(UNKNOWN)
            assert await asyncio.gather(*waiting, return_exceptions=True) == [UNKNOWN] * 3

        asyncio.run(main())

    def test_a_cancelled_waiter_does_not_hurt_the_delivery(self) -> None:
        async def main() -> None:
            delivery = AsyncDelivery()
            waiter = asyncio.ensure_future(delivery.result(PATIENCE_S))
            await asyncio.sleep(0)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            delivery.settle(RECEIPT)
            assert await delivery == RECEIPT

        asyncio.run(main())

    def test_result_is_bounded(self) -> None:
        async def main() -> None:
            delivery = AsyncDelivery()
            with pytest.raises(TimedOut) as caught:
                await delivery.result(0.0)
            assert not caught.value.definite

        asyncio.run(main())

    def test_callbacks_run_once_and_failing_ones_are_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        delivery, heard = AsyncDelivery(), list[object]()

        def fail(_: AsyncDelivery) -> None:
            raise RuntimeError("a bug of the application")

        delivery.add_done_callback(fail)
        delivery.add_done_callback(heard.append)
        delivery.settle(RECEIPT)
        delivery.add_done_callback(heard.append)
        assert heard == [delivery, delivery]
        assert "a bug of the application" in caplog.text


class TestBatches:
    def test_it_is_a_sequence(self) -> None:
        parts = [Delivery() for _ in range(3)]
        batch = Deliveries(parts)
        assert len(batch) == 3
        assert list(batch) == parts
        assert batch[1] is parts[1]
        assert list(batch[1:]) == parts[1:]

    def test_result_gives_all_receipts_in_order(self) -> None:
        parts = [Delivery() for _ in range(3)]
        for offset, part in reversed(list(enumerate(parts))):
            part.settle(RECEIPT._replace(offset=offset))
        batch = Deliveries(parts)
        assert batch.is_settled
        assert [receipt.offset for receipt in batch.result()] == [0, 1, 2]

    def test_result_raises_the_first_error_in_order_once_all_are_settled(self) -> None:
        parts = [Delivery() for _ in range(3)]
        batch = Deliveries(parts)
        parts[2].settle(UNKNOWN)
        parts[1].settle(FAILED)
        assert not batch.is_settled
        assert batch.errors == [FAILED, UNKNOWN]
        with pytest.raises(TimedOut):
            batch.result(0.0)
        parts[0].settle(RECEIPT)
        with pytest.raises(RecordTooLarge):
            batch.result(0.0)

    def test_for_coroutines_alike(self) -> None:
        async def main() -> None:
            parts = [AsyncDelivery() for _ in range(3)]
            batch = AsyncDeliveries(parts)
            with pytest.raises(TimedOut):
                await batch.result(0.0)
            for part in parts:
                asyncio.get_running_loop().call_soon(part.settle, RECEIPT)
            assert await batch.result(PATIENCE_S) == [RECEIPT] * 3
            failing = AsyncDeliveries([parts[0], AsyncDelivery()])
            failing[1].settle(FAILED)
            with pytest.raises(RecordTooLarge):
                await failing.result()

        asyncio.run(main())

    def test_an_empty_batch_is_settled(self) -> None:
        assert Deliveries([]).is_settled
        assert Deliveries([]).result() == []


def rename(receipt: Receipt) -> Receipt:
    return receipt._replace(topic=receipt.topic.removeprefix("to"))


class TestInANamespace:
    """Receipts are renamed; everything else is the inner delivery's."""

    def test_for_threads(self) -> None:
        inner = Delivery()
        outer, heard = NamespacedDelivery(inner, rename), list[object]()
        outer.add_done_callback(heard.append)
        assert (outer.is_settled, outer.outcome, outer.receipt) == (False, Outcome.PENDING, None)
        with pytest.raises(TimedOut):
            outer.result(0.0)
        inner.settle(RECEIPT)
        assert heard == [outer]
        assert outer.is_settled
        assert outer.outcome is Outcome.ACKNOWLEDGED
        assert outer.receipt == outer.result() == RECEIPT._replace(topic="pic")

    def test_errors_pass(self) -> None:
        inner = Delivery()
        outer = NamespacedDelivery(inner, rename)
        outer.settle(FAILED)
        assert inner.error is outer.error is FAILED
        assert outer.receipt is None
        with pytest.raises(RecordTooLarge):
            outer.result()

    def test_for_coroutines(self) -> None:
        async def main() -> None:
            inner = AsyncDelivery()
            outer = AsyncNamespacedDelivery(inner, rename)
            asyncio.get_running_loop().call_soon(inner.settle, RECEIPT)
            assert (await outer).topic == "pic"
            assert (await outer.result()).topic == "pic"
            batch = AsyncNamespacedDeliveries(AsyncDeliveries([inner]), rename)
            assert [receipt.topic for receipt in await batch.result()] == ["pic"]
            assert [each.receipt for each in batch] == [outer.receipt]
            assert batch[0].receipt == batch[:1][0].receipt == outer.receipt

        asyncio.run(main())

    def test_batches(self) -> None:
        inner = [Delivery(), Delivery()]
        batch = NamespacedDeliveries(Deliveries(inner), rename)
        assert len(batch) == 2
        assert not batch.is_settled
        inner[0].settle(RECEIPT)
        inner[1].settle(FAILED)
        assert batch.is_settled
        assert batch.errors == [FAILED]
        assert [each.receipt for each in batch] == [RECEIPT._replace(topic="pic"), None]
        assert batch[0].receipt == batch[:1][0].receipt == RECEIPT._replace(topic="pic")
        with pytest.raises(RecordTooLarge):
            batch.result()
