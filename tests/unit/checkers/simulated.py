"""Histories made by chance: producers, transforming workers and readers of a small transactional log.

Every operation takes three steps: it is invoked, takes effect, and is told about. Between any two
steps any other process may run; a process may crash at any step, be put out of its group while it
sleeps, or never hear what became of an operation.
"""

import contextlib
import random

from tests.unit.checkers.conftest import Story
from tests.unit.checkers.simulated_log import Engine, Fenced

CLIENT_DEFECTS = {
    "goes-on-after-abort": "a worker does not read again what an aborted transaction had polled",
    "commits-backwards": "a reader commits less than it had committed before",
    "commits-beside": "a worker commits its offsets outside of the transaction",
    "swaps-outputs": "a worker sends its outputs in another order",
}
PARTITIONS = 2


class Lost(Exception):
    """Nobody hears what became of an operation."""


class Simulation:
    """One run of a seed. `story` holds its history."""

    def __init__(self, seed, defects=(), *, loops=False):
        self.rng = random.Random(seed)
        self.defects = frozenset(defects)
        self.loops = loops
        self.story = Story()
        topics = ("in", "out", "back") if loops else ("in", "out")
        self.engine = Engine(topics, PARTITIONS, self.rng, self.defects)
        self.actors = {}
        self.tids = {}
        self.hurts = 0.02
        self.is_over = False
        self.numbers = dict.fromkeys(("id", "txn", "life"), 0)
        self.paused = {}

    def next(self, name):
        self.numbers[name] += 1
        return self.numbers[name]

    # -- running -----------------------------------------------------------------------------------

    def run(self, steps=350):
        for topic in sorted({log[0] for log in self.engine.logs}):
            self.story.note("h", "topic", topic=topic, partitions=PARTITIONS)
        for name in ("p1", "p2"):
            self.actors[name] = self.source(name)
        self.start("w1", "wa", self.worker, "in", "out", "g")
        self.start("w2", "wb", self.worker, "in", "out", "g")
        if self.loops:
            self.start("b1", "ba", self.worker, "out", "back", "b")
            self.start("l1", "la", self.worker, "back", "out", "l")
        self.start("v1", None, self.verifier)
        self.start("v2", None, self.verifier)
        if self.rng.random() < 0.5:
            self.actors["u"] = self.uncommitted()
        for _ in range(steps):
            self.step()
        self.drain()
        return self.story

    def start(self, name, tid, make, *arguments):
        self.tids[name] = (tid, make, arguments)
        self.actors[name] = make(name, tid, *arguments) if tid else make(name, *arguments)

    def step(self):
        awake = [name for name in self.actors if self.paused.get(name, 0) <= 0]
        for name in self.paused:
            self.paused[name] -= 1
        name = self.rng.choice(awake or list(self.actors))
        chance = self.rng.random()
        if name in self.tids and chance < self.hurts:
            self.crash(name)
        elif name in self.tids and chance < 1.5 * self.hurts and not any(v > 0 for v in self.paused.values()):
            self.pause(name)
        elif chance > 1 - self.hurts / 2:
            self.trim()
        else:
            self.advance(name)

    def advance(self, name):
        try:
            next(self.actors[name])
        except StopIteration:
            del self.actors[name]
            if name in self.tids and not self.is_over:
                self.replace(name)

    def crash(self, name):
        self.actors.pop(name).close()
        self.story.note(name, "crash", role="consumer")
        for group in self.engine.groups.values():
            group.leave(name)
        self.replace(name)

    def replace(self, name):
        """Another life of the same process, or another process; its transactional id stays."""
        tid, make, arguments = self.tids.pop(name)
        again = name if self.rng.random() < 0.5 else f"{name[0]}{10 + self.next('life')}"
        self.start(again, tid, make, *arguments)

    def pause(self, name):
        """It sleeps, is put out of its group, and somebody else takes its transactional id."""
        self.story.note("h", "fault", fault="pause", target=name, phase="start")
        self.paused[name] = self.rng.randrange(20, 60)
        for group in self.engine.groups.values():
            group.leave(name)
        tid, make, arguments = self.tids.pop(name)
        self.tids[name] = (tid, self.zombie_end, ())
        self.start(f"{name[0]}{10 + self.next('life')}", tid, make, *arguments)

    def zombie_end(self, name, *_):
        """What replaces a process that had been replaced before: nothing."""
        return
        yield

    def trim(self):
        log = self.rng.choice(list(self.engine.logs))
        groups = [group for group in self.engine.groups.values() if log in group.logs]
        reach = min((group.committed.get(log, 0) for group in groups), default=0)
        if log[0] == "in" and reach > self.engine.logs[log].start:
            self.engine.logs[log].start = reach
            self.story.note("h", "trim", starts=[[*log, reach]], cause="retention")

    def drain(self):
        """Let everything come to its end; crashes and losses are over."""
        self.hurts = 0
        self.is_over = True
        for name in [name for name, left in self.paused.items() if left > 0]:
            self.paused[name] = 0
        for _ in range(4000 if not self.defects else 1000):
            if not self.actors or self.is_drained():
                break
            self.step()
        else:
            assert self.defects, "the simulation does not come to an end"
        for name in list(self.actors):
            self.actors.pop(name).close()
        ends = [[*log, self.engine.end_of(log)] for log in self.engine.logs]
        stable = [[*log, self.engine.stable_end(log)] for log in self.engine.logs]
        self.story.drained(ends=ends, stable_ends=stable)

    def is_drained(self):
        self.engine_times_out()
        return all(
            self.engine.fetch(log, group.committed.get(log, 0), 1)[0] == []
            for group in self.engine.groups.values()
            for log in group.logs
        ) and not {"p1", "p2"} & set(self.actors)

    def engine_times_out(self):
        """A transaction whose producer is gone is aborted after a while."""
        held = {tid for name, (tid, _, _) in self.tids.items() if name in self.actors}
        for tid, producer in self.engine.producers.items():
            if tid not in held and producer.txn is not None and "forgets-to-abort" not in self.defects:
                self.engine.init(tid)

    # -- operations --------------------------------------------------------------------------------

    def act(self, call, effect, **lossy):
        """Let an invoked operation take effect and be told, or not. Returns what it returned."""
        yield
        can_be_lost = lossy.get("can_be_lost", True) and self.rng.random() < 2 * self.hurts
        if can_be_lost and self.rng.random() < 0.4:
            yield
            self.story.info(call)
            raise Lost
        try:
            result = effect()
        except Fenced:
            self.story.fail(call, "Fenced")
            raise
        yield
        if can_be_lost:
            self.story.info(call)
            raise Lost
        self.story.ok(call, **(lossy["told"](result) if "told" in lossy else {}))
        return result

    def source(self, name):
        for _ in range(self.rng.randrange(4, 9)):
            sends = []
            for _ in range(self.rng.randrange(1, 4)):
                partition = self.rng.randrange(PARTITIONS)
                id_ = f"{name}-{self.next('id')}"
                call = self.story.send(id_, "in", name, key=f"k{partition}")
                sends.append((call, id_, ("in", partition)))
                yield
            for call, id_, log in sends:
                fails = self.rng.random() < self.hurts
                if fails:
                    self.story.fail(call)
                    continue
                with contextlib.suppress(Lost):
                    yield from self.sending(call, log, id_)
            for _ in range(self.rng.randrange(6)):
                yield

    def sending(self, call, log, id_, **producer):
        def told(offset):
            return {"partition": log[1], "offset": offset}

        def effect():
            return self.engine.append(log, id_, f"k{log[1]}", **producer)

        yield from self.act(call, effect, told=told)

    def uncommitted(self):
        position = dict.fromkeys((log for log in self.engine.logs if log[0] == "out"), 0)
        while True:
            log = self.rng.choice(list(position))
            call = self.story.invoke("u", "poll", isolation="read_uncommitted")
            yield
            records, position[log] = self.engine.fetch(log, position[log], 3, committed=False)
            yield
            self.story.ok(call, records=records)

    # -- reading in a group ------------------------------------------------------------------------

    def sync(self, name, group, title, member):
        """Take part in a rebalance; afterwards `member` holds positions and the generation."""
        if name not in group.members:
            if member["positions"]:
                self.story.revoke(name, *map(place, member["positions"]), group=title, op="lost")
            member["positions"] = {}
            group.join(name)
        if group.is_preparing and name not in group.waiting:
            if member["positions"]:
                self.story.revoke(name, *map(place, member["positions"]), group=title)
            member["positions"] = {}
            group.arrive(name)
        while group.is_preparing:
            if name not in group.waiting:
                group.arrive(name)  # the next rebalance began before it heard of the end of the last
            yield
            if name not in group.members:
                return
        while not self.engine.is_stable(group):
            yield
            if name not in group.members or group.is_preparing:
                return
        if member["generation"] != group.generation:
            member["generation"] = group.generation
            logs = group.owned.get(name, [])
            member["positions"] = {log: self.engine.resume(group, log) for log in logs}
            for _ in range(self.rng.choice([1, 1, 2])):
                self.story.assign(name, *map(place, logs), group=title, generation=group.generation)

    def polling(self, name, title, member, **fields):
        """Poll all logs held, and move on."""
        call = self.story.invoke(name, "poll", group=title, **fields)
        yield
        records = []
        for log, position in sorted(member["positions"].items()):
            found, member["positions"][log] = self.engine.fetch(log, position, self.rng.randrange(1, 4))
            records += found
        yield
        self.story.ok(call, records=records)
        return records

    def verifier(self, name):
        group = self.engine.group("v", "out")
        self.story.note(name, "open", role="consumer", group="v", topics=["out"], reset="earliest")
        member = {"positions": {}, "generation": None}
        while True:
            yield from self.sync(name, group, "v", member)
            yield
            yield from self.polling(name, "v", member)
            if self.rng.random() < 0.6 and member["positions"]:
                offsets = dict(member["positions"])
                if "commits-backwards" in self.defects and self.rng.random() < 0.5:
                    offsets = {log: max(0, offset - 4) for log, offset in offsets.items()}
                fields = {"generation": member["generation"]}
                call = self.story.invoke(
                    name, "commit", group="v", offsets=[[*log, at] for log, at in offsets.items()], **fields
                )
                with contextlib.suppress(Lost, Fenced):
                    yield from self.act(
                        call, lambda offsets=offsets: group.commit(name, member["generation"], offsets)
                    )

    # -- transforming ------------------------------------------------------------------------------

    def worker(self, name, tid, source, target, title):
        group = self.engine.group(title, source)
        self.story.note(name, "open", role="worker", group=title, topics=[source], reset="earliest")
        member = {"positions": {}, "generation": None}
        try:
            epoch = yield from self.initialising(name, tid)
            while True:
                yield from self.sync(name, group, title, member)
                yield
                done = yield from self.transforming(name, tid, epoch, group, title, target, member)
                if not done:
                    epoch = yield from self.initialising(name, tid)
                    self.rewind(group, member)
        except Fenced:
            self.story.did(name, "close", role="worker")
            group.leave(name)

    def initialising(self, name, tid):
        while True:
            call = self.story.invoke(name, "init", transactional_id=tid)
            try:
                return (
                    yield from self.act(
                        call, lambda: self.engine.init(tid), told=lambda epoch: {"epoch": epoch}
                    )
                )
            except Lost:
                continue

    def rewind(self, group, member):
        member["positions"] = {log: self.engine.resume(group, log) for log in member["positions"]}

    def transforming(self, name, tid, epoch, group, title, target, member):
        """One transaction. False: nobody knows how it ended, so the producer has to initialise anew."""
        txn = f"{tid}/{self.next('txn')}"
        consumers = {} if self.rng.random() < 0.1 else {"consumers": [name]}
        named = {"txn": txn} if not consumers or self.rng.random() < 0.4 else {}
        self.story.began(txn, name, tid, **consumers)
        self.engine.begin(tid, epoch, txn)
        producer = {"tid": tid, "epoch": epoch, "txn": txn}
        yield
        try:
            for _ in range(self.rng.choice([1, 1, 2])):
                records = yield from self.polling(name, title, member, **named)
                yield from self.outputs(name, producer, target, records)
            if self.rng.random() < 10 * self.hurts:
                raise RuntimeError("the program changes its mind")
            yield from self.offsets(name, producer, group, title, member)
        except (Lost, RuntimeError, Fenced):
            return (yield from self.aborting(name, producer, group, member))
        call = self.story.ending(txn, True, name, tid)
        try:
            yield from self.act(call, lambda: self.engine.end(tid, epoch, txn, True))
        except Lost:
            return False
        return True

    def outputs(self, name, producer, target, records):
        calls = []
        for _, partition, _, id_, _ in records:
            hops = id_.count("+")
            if self.loops and hops > 3:
                continue
            made = f"{id_}+{self.next('id')}" if self.loops else f"o{self.next('id')}-{id_}"
            call = self.story.send(made, target, name, key=f"k{partition}", txn=producer["txn"], from_=[id_])
            calls.append((call, made, (target, partition)))
            yield
        if "swaps-outputs" in self.defects:
            calls.reverse()
        while calls:
            call, made, log = calls.pop(0)
            try:
                yield from self.sending(call, log, made, **producer)
            except (Lost, Fenced):
                for call, _, _ in calls:  # these never left the client
                    self.rng.choice([self.story.fail, self.story.info])(call)
                raise

    def offsets(self, name, producer, group, title, member):
        offsets = dict(member["positions"])
        if not offsets:
            return
        is_beside = "commits-beside" in self.defects
        fields = {} if is_beside else {"txn": producer["txn"]}
        call = self.story.invoke(
            name,
            "commit",
            group=title,
            offsets=[[*log, at] for log, at in offsets.items()],
            generation=member["generation"],
            **fields,
        )

        def effect():
            if is_beside:
                group.commit(name, member["generation"], offsets)
            else:
                self.engine.add_offsets(*producer.values(), group, name, member["generation"], offsets)

        yield from self.act(call, effect)

    def aborting(self, name, producer, group, member):
        tid, epoch, txn = producer.values()
        call = self.story.ending(txn, False, name, tid)
        try:
            yield from self.act(call, lambda: self.engine.end(tid, epoch, txn, False))
        except Lost:
            return False
        if "goes-on-after-abort" not in self.defects:
            self.rewind(group, member)
        return True


def place(log):
    return f"{log[0]}/{log[1]}"
