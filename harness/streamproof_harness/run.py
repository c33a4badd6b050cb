"""The conductor of a run: what a scenario's script works with.

A script creates topics, starts readers, produces a workload, injects faults and drains; every
client process leaves its events in one history. The script is a coroutine whatever the colour of
the clients: blocking ones run on threads.
"""

import asyncio
import logging
import shutil
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamproof import Capabilities, StreamproofError, aconnect, connect
from streamproof_harness.clients._async.ends import settled_ends as async_settled_ends
from streamproof_harness.clients._async.sender import AsyncSender
from streamproof_harness.clients._sync.ends import settled_ends
from streamproof_harness.clients._sync.sender import Sender
from streamproof_harness.clients.actors import Actor, MemberActor, TaskActor, ThreadActor, client_actor, until
from streamproof_harness.clients.findings import Findings, mark_id
from streamproof_harness.clients.member import Colour
from streamproof_harness.clients.plans import EffectPlan, Place, Plan, ReaderPlan, TransformPlan
from streamproof_harness.history.recorder import Recorder
from streamproof_harness.workloads.oracle import Oracle
from streamproof_harness.workloads.workload import Message, Workload

_log = logging.getLogger("streamproof.run")

_MARKERS_S = 10.0
"""The longest wait for the markers of the last transactions, when all else is drained."""


class RunFailure(Exception):
    """The run could not do what its script asks for; the history says nothing about guarantees."""


class HarmableServer(Protocol):
    """A private broker that a scenario may kill."""

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def restart(self) -> None:
        """Start it again with its data; returns when it answers."""
        ...


@dataclass(slots=True)
class Group:
    """Readers that share the work, or one reader on its own."""

    name: str
    topics: tuple[str, ...]
    plan: Plan
    members: list[Actor] = field(default_factory=list)
    hired: int = 0

    @property
    def active(self) -> list[Actor]:
        """The members that did not end."""
        return [member for member in self.members if not member.is_over]


class Run:
    """See the module's docstring. Made by the runner, one a run."""

    def __init__(
        self,
        place: Place,
        colour: Colour,
        recorder: Recorder,
        seed: int,
        parameters: Mapping[str, Any],
        capabilities: Capabilities,
        *,
        server: HarmableServer | None = None,
        patience_s: float = 60.0,
        isolates: bool = False,
    ) -> None:
        self.place = place
        self.colour = colour
        self.seed = seed
        self.parameters = parameters
        self.capabilities = capabilities
        self.recorder = recorder
        self.findings = Findings(self._on_handled)
        self.is_memory = place.url.startswith("memory:")
        self.patience_s = patience_s
        self._server = server
        self._isolates = isolates
        self._topics: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._senders: list[Actor] = []
        self._rounds = 0
        self.oracles: dict[str, Oracle] = {}
        self.workloads: list[Workload] = []
        self._orders: dict[str, list[str]] = {}
        self._folder: Path | None = None
        self.claims: list[tuple[bool, str]] = []
        self.lines: list[str] = []

    # -- topics ------------------------------------------------------------------------------

    async def topic(self, name: str, partitions: int = 4) -> str:
        """Create a topic of the run."""
        if self.colour == "async":
            async with await aconnect(self.place.url, namespace=self.place.namespace) as bus:
                await (await bus.admin()).create_topic(name, partitions)
        else:
            await asyncio.to_thread(self._create_topic, name, partitions)
        self._topics[name] = partitions
        self.recorder.note("conductor", "topic", topic=name, partitions=partitions)
        return name

    def _create_topic(self, name: str, partitions: int) -> None:
        with connect(self.place.url, namespace=self.place.namespace) as bus:
            bus.admin().create_topic(name, partitions)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics created so far."""
        return tuple(self._topics)

    @property
    def session_timeout_s(self) -> float:
        """How long a group waits for a silent member: short where the backend allows it."""
        if self.is_memory:
            return 0.3  # nobody is slow to say that it lives: only who died is waited for
        # Kafka's default group.min.session.timeout.ms is 6000.
        return 6.0 if self.place.url.startswith("kafka:") else 3.0

    # -- readers -----------------------------------------------------------------------------

    async def group(self, name: str, *topics: str, members: int = 1, **plan: Any) -> Group:
        """Start a group, and wait until its members hold all logs. ``plan``: see ReaderPlan."""
        plan.setdefault("session_timeout_s", self.session_timeout_s)
        group = Group(name, topics, ReaderPlan(topics=topics, group=name, **plan))
        self._groups[name] = group
        for _ in range(members):
            self.hire(group)
        await self._settled(group)
        return group

    async def reader(self, name: str, *topics: str, **plan: Any) -> Group:
        """Start a reader without a group, and wait until it holds its logs."""
        group = Group(name, topics, ReaderPlan(topics=topics, **plan))
        self._groups[name] = group
        group.members.append(self._start(name, group.plan))
        await self._settled(group)
        return group

    async def transformers(self, name: str, *topics: str, members: int = 1, **plan: Any) -> Group:
        """Start a group that transforms, and wait until its members hold all logs. ``plan``: see
        TransformPlan; ``{process}`` in its ``transactional_id`` is the member's own name."""
        plan.setdefault("session_timeout_s", self.session_timeout_s)
        group = Group(name, topics, TransformPlan(topics=topics, group=name, **plan))
        self._groups[name] = group
        for _ in range(members):
            self.hire(group)
        await self._settled(group)
        return group

    async def effectors(self, name: str, *topics: str, members: int = 1, **plan: Any) -> Group:
        """The same with effects instead of transactions; ``plan``: see EffectPlan."""
        plan.setdefault("session_timeout_s", self.session_timeout_s)
        group = Group(name, topics, EffectPlan(topics=topics, group=name, **plan))
        self._groups[name] = group
        for _ in range(members):
            self.hire(group)
        await self._settled(group)
        return group

    def file(self, name: str) -> str:
        """The path of a file of the run's own, for a database; it is gone when the run is over."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="streamproof-run-"))
        return str(self._folder / name)

    def transactional_id(self, application: str, instance: str = "{process}") -> str:
        """The id for a member of an application, in the run's own name: each instance has one, and
        keeps it when it is started again. Where a backend fences no member, all share one, which
        is made theirs by partition."""
        own = instance if self.capabilities.has_member_fencing else "all"
        return f"{application}-{own}"

    def hire(self, group: Group, **changes: Any) -> Actor:
        """Add a member; ``changes`` to the group's plan hold for this one."""
        group.hired += 1
        member = self._start(f"{group.name}-{group.hired}", msgspec.structs.replace(group.plan, **changes))
        group.members.append(member)
        return member

    async def dismiss(self, group: Group, member: Actor) -> None:
        """Let a member leave in an orderly way, and wait until it did."""
        member.stop()
        await self.until(lambda: member.is_over, f"{member.process} closes")
        self._raise_errors()

    async def hung(self, member: Actor) -> None:
        """Wait until a member hangs, as it was planned to."""
        hanging = self.findings.hanging_members
        await self.until(lambda: member.process in hanging, f"{member.process} hangs")
        self.recorder.note("conductor", "fault", fault="hang", target=member.process, phase="start")

    def wake(self, member: Actor) -> None:
        """Let a member that hangs go on."""
        assert isinstance(member, MemberActor), "only processes of the operating system hang alone"
        member.wake()
        self.recorder.note("conductor", "fault", fault="hang", target=member.process, phase="stop")

    async def joined(self, member: Actor) -> None:
        """Wait until a member that was hired has come into its group."""
        await self.until(lambda: member.process in self.findings.logs, f"{member.process} joins its group")
        self._raise_errors()

    async def holds(self, member: Actor) -> None:
        """Wait until a member holds a log, so that it gets something to do, or is over already."""

        def has_logs() -> bool:
            self._raise_errors()
            return member.is_over or self.findings.logs.get(member.process, 0) > 0

        await self.until(has_logs, f"{member.process} holds a log")

    async def ended(self, member: Actor) -> None:
        """Wait until a member has ended by itself: it was planned to crash."""
        await self.until(lambda: member.is_over, f"{member.process} is gone")
        self._raise_errors()

    async def crash(self, group: Group, member: Actor) -> None:
        """Let a member vanish without a word, noting how much it had in hand."""
        in_hand = self.findings.in_flight.get(member.process, 0)
        self.recorder.note(
            "conductor", "fault", fault="crash", target=member.process, phase="start", in_flight=in_hand
        )
        member.crash()
        await self.until(lambda: member.is_over, f"{member.process} is gone")
        self.recorder.note("conductor", "fault", fault="crash", target=member.process, phase="stop")

    async def replace_crashed(self, group: Group, **changes: Any) -> None:
        """For each member that crashed, one new one, at any time until the run is drained."""
        gone = [member for member in group.members if member.is_over and member.is_crashed]
        for member in gone:
            group.members.remove(member)
            self.hire(group, **changes)

    def _start(self, process: str, plan: Plan) -> Actor:
        if isinstance(plan, ReaderPlan):
            may_crash = plan.crash_after > 0
        else:
            may_crash = plan.crash_at != "" or (isinstance(plan, TransformPlan) and plan.hang_at != "")
        if isinstance(plan, TransformPlan) and plan.transactional_id is not None:
            own = plan.transactional_id.format(process=process)
            plan = msgspec.structs.replace(plan, transactional_id=own)
        return client_actor(
            process,
            self.place,
            plan,
            self.colour,
            self.recorder,
            self.findings,
            is_isolated=not self.is_memory and (may_crash or self._isolates),
        )

    async def _settled(self, group: Group) -> None:
        logs = sum(self._topics[topic] for topic in group.topics)

        def holds_all() -> bool:
            self._raise_errors()
            return sum(self.findings.logs.get(member.process, 0) for member in group.members) == logs

        await self.until(holds_all, f"the members of {group.name} hold all {logs} logs")

    # -- traffic -----------------------------------------------------------------------------

    def produce(
        self,
        workload: Workload,
        topic: str,
        *,
        producers: int = 1,
        answer_from: Sequence[str] = (),
        sends_again: bool = True,
        **options: Any,
    ) -> Callable[[], bool]:
        """Start sending; returns what tells whether all is sent. Each key belongs to one producer.

        ``answer_from`` names the groups whose handled records are held against the oracle.
        """
        self.workloads.append(workload)
        for group in answer_from:
            self.oracles[group] = workload.oracle()
        senders = [
            self._send(
                f"producer-{len(self._senders) + number + 1}",
                topic,
                share(workload.messages(), number, producers),
                sends_again,
                options,
            )
            for number in range(producers)
        ]
        self._senders.extend(senders)
        return lambda: all(sender.is_over for sender in senders)

    async def sent(self, timeout_s: float | None = None) -> None:
        """Wait until every sender is done."""
        await self.until(
            lambda: all(sender.is_over for sender in self._senders), "everything is sent", timeout_s
        )
        self._raise_errors()

    async def progressed(self, group: Group | str, handled: int) -> None:
        """Wait until the group handled this many records."""
        name = group if isinstance(group, str) else group.name

        def is_there() -> bool:
            self._raise_errors()
            return self.findings.counts[name] >= handled

        await self.until(is_there, f"{name} handled {handled} records")

    def _send(
        self,
        process: str,
        topic: str,
        messages: Iterator[Message],
        sends_again: bool,
        options: dict[str, Any],
    ) -> Actor:
        make: Any = Sender if self.colour == "sync" else AsyncSender
        sender = make(
            process,
            self.place,
            topic,
            messages,
            self.recorder,
            self.findings,
            options=options,
            give_up_s=self.patience_s,
            sends_again=sends_again,
        )
        return ThreadActor(sender) if self.colour == "sync" else TaskActor(sender)

    # -- faults ------------------------------------------------------------------------------

    @asynccontextmanager
    async def fault(self, name: str, target: str) -> AsyncIterator[None]:
        """Note a fault's beginning and end, and how many sends were under way when it struck."""
        self.recorder.note(
            "conductor", "fault", fault=name, target=target, phase="start", in_flight=self.findings.unsettled
        )
        try:
            yield
        finally:
            self.recorder.note("conductor", "fault", fault=name, target=target, phase="stop")

    async def kill_broker(self, down_s: float = 1.0) -> None:
        """Kill the run's own broker with SIGKILL, and start it again after a while."""
        if self._server is None:
            raise RunFailure("this run has no broker of its own to kill: the scenario must declare it")
        async with self.fault("kill", "broker"):
            await asyncio.to_thread(self._server.kill)
            await asyncio.sleep(down_s)
            await asyncio.to_thread(self._server.restart)

    # -- the end -----------------------------------------------------------------------------

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Send an end mark to every log, and wait until every group handled the marks and has
        nothing in hand. A topic that others write to, with outputs or dead letters, gets its marks when
        they are done. Notes whether that was complete."""
        await self.sent(timeout_s)
        self._rounds += 1
        left = {topic for group in self._groups.values() if group.active for topic in group.topics}
        marked: set[str] = set()
        is_complete = True
        while left and is_complete:
            stage = (left - self._sinks(left)) or left
            marked |= stage
            left = left - stage
            is_complete = await self._drain_topics(stage, marked, timeout_s)
        groups = [name for name, group in self._groups.items() if group.active]
        ends = await self._ends() if is_complete and self.capabilities.can_transact else {}
        self.recorder.note("conductor", "drained", complete=is_complete, groups=groups, **ends)
        self._raise_errors()
        return is_complete

    async def _ends(self) -> dict[str, list[list[str | int]]]:
        """Where the logs of the run end now, as the history tells it. Whatever was handled was committed
        before, so nothing is open any more but what hangs; in memory it is seen at once."""
        patience_s = 0.0 if self.is_memory else min(_MARKERS_S, self.patience_s)
        try:
            if self.colour == "async":
                found = await async_settled_ends(self.place, self.topics, patience_s)
            else:
                found = await asyncio.to_thread(settled_ends, self.place, self.topics, patience_s)
        except StreamproofError as error:
            _log.warning("where the logs end is not known: %s", error)
            return {}
        named = zip(("ends", "stable_ends"), found, strict=True)
        return {
            name: [[log.topic, log.partition, end] for log, end in sorted(ends.items())]
            for name, ends in named
        }

    async def _drain_topics(self, topics: set[str], marked: set[str], timeout_s: float | None) -> bool:
        for topic in sorted(topics):
            marks = _marks(self._rounds, topic, self._topics[topic])
            self._senders.append(self._send(f"marker-{self._rounds}-{topic}", topic, marks, True, {}))
        await self.sent(timeout_s)
        return await until(lambda: self._is_drained(marked), timeout_s or self.patience_s)

    def _sinks(self, topics: set[str]) -> set[str]:
        """Where the readers of these topics write: what they transform, or bury."""
        sinks = {
            group.plan.dead_letter if isinstance(group.plan, ReaderPlan) else group.plan.to
            for group in self._groups.values()
            if group.active and topics.intersection(group.topics)
        }
        return {sink for sink in sinks if sink is not None}

    def _is_drained(self, topics: set[str]) -> bool:
        self._raise_errors()
        for group in self._groups.values():
            if not group.active:
                continue
            marks = {
                mark_id(self._rounds, topic, partition)
                for topic in topics.intersection(group.topics)
                for partition in range(self._topics[topic])
            }
            if not self.findings.has_marks(group.name, marks):
                return False
            if any(self.findings.in_flight.get(member.process, 0) for member in group.active):
                return False
        return True

    async def close(self) -> None:
        """Stop every process in an orderly way; also after a failure."""
        actors = [*self._senders, *(member for group in self._groups.values() for member in group.members)]
        for actor in actors:
            if not actor.is_over:
                actor.stop()
        if not await until(lambda: all(actor.is_over for actor in actors), 60.0):
            running = [actor.process for actor in actors if not actor.is_over]
            raise RunFailure(f"{', '.join(running)} did not end within 60 s")
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float | None = None) -> None:
        """Wait for something; :class:`RunFailure` says what did not come."""
        bound_s = timeout_s or self.patience_s
        if not await until(condition, bound_s):
            self._raise_errors()
            raise RunFailure(f"waited {bound_s:g} s in vain until {what}")

    def keep_order(self, *groups: str) -> None:
        """Remember in which order these groups handle; ask before they begin."""
        for group in groups:
            self._orders[group] = []

    def handled_order(self, group: str) -> list[str]:
        """The ids of the messages that the group handled so far, in its order."""
        return list(self._orders[group])

    def claim(self, is_true: bool, text: str) -> None:
        """Something that the scenario itself promises, beside its contract: a false claim makes
        the run invalid."""
        self.claims.append((is_true, text))

    def say(self, line: str) -> None:
        """A line for the report of this run."""
        self.lines.append(line)

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return (time.monotonic_ns() - self.recorder.start_ns) / 1e9

    def _on_handled(self, group: str, id: str, key: bytes | None, value: bytes | None) -> None:
        order = self._orders.get(group)
        if order is not None:
            order.append(id)
        oracle = self.oracles.get(group)
        if oracle is not None:
            oracle.receive(id, key, value)

    def _raise_errors(self) -> None:
        if self.findings.errors:
            raise RunFailure("; ".join(self.findings.errors[:3]))


def share(messages: Iterator[Message], number: int, of: int) -> Iterator[Message]:
    """The messages of every ``of``-th key: all of one key are in one share."""
    if of == 1:
        return messages
    return (message for message in messages if _owner(message, of) == number)


def _owner(message: Message, of: int) -> int:
    return zlib.crc32(message.key if message.key is not None else message.id.encode()) % of


def _marks(round_number: int, topic: str, partitions: int) -> Iterator[Message]:
    for partition in range(partitions):
        id = mark_id(round_number, topic, partition)
        yield Message(id, None, b"", (), 0, 0, 0, 0, partition)
