"""Members in a simulated world: one ordered log, heartbeats that are late or lost, members that
die, hang, lose their connection, and come back, in any interleaving."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streamproof.core.membership import Event, Expired, Joined, Left
from streamproof.core.membership_member import Member
from streamproof.records import TopicPartition

SESSION_S, MAX_POLL_S = 3.0, 30.0
PARTITIONS = 4
LOGS = {TopicPartition("t", number) for number in range(PARTITIONS)}


@dataclass
class Client:
    """One process: a member, how far it read the log, what it reads, what it is closing."""

    name: str
    member: Member
    at: int = 0
    incarnation: int = 0
    is_connected: bool = False
    is_dead: bool = False
    is_leaving: bool = False
    inbox: list[str] = field(default_factory=list)
    reading: dict[TopicPartition, int] = field(default_factory=dict)
    closing: dict[TopicPartition, int] = field(default_factory=dict)


class World:
    """Everything that happens, one step at a time."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.clients: list[Client] = []
        self.now_s = 0.0
        self.tenants: dict[tuple[TopicPartition, int], str] = {}
        self.has_harm = False

    # -- steps -----------------------------------------------------------------------------

    def start(self) -> None:
        if len(self.clients) < 5:
            client = Client(
                f"c{len(self.clients)}", Member({"t": PARTITIONS}, SESSION_S, MAX_POLL_S, self.now_s)
            )
            self.clients.append(client)
            self.connect(client)

    def connect(self, client: Client) -> None:
        if not client.is_connected and not client.is_dead and not client.is_leaving:
            client.is_connected = True
            client.incarnation += 1
            client.inbox = []
            client.member.enter(f"{client.name}.{client.incarnation}")
            self.append(client)

    def append(self, client: Client) -> None:
        events = client.member.take_outbox()
        if client.is_connected:
            self.log.extend(events)

    def read(self, client: Client, events: int = 1) -> None:
        """Take in the next events of the log; late as the simulation pleases."""
        for _ in range(events):
            if client.is_connected and client.at < len(self.log):
                client.member.apply(client.at, self.log[client.at], self.now_s)
                client.at += 1
                for log in client.member.stale():
                    client.reading.pop(log, None)
                self.append(client)
                if client.member.is_out and client.member.id.endswith(f".{client.incarnation}"):
                    self.disconnect(client)

    def poll(self, client: Client) -> None:
        if client.is_dead or client.is_leaving:
            return
        client.member.polled(self.now_s)
        changes = client.member.take_changes()
        self.append(client)
        if changes is None:
            return
        for log in changes.lost:
            client.closing[log] = client.reading.pop(log, -1)
        for log in changes.revoked:
            client.closing[log] = client.reading.pop(log)
        for log in changes.assigned:
            since = client.member.state.owners[log].since
            self.open(client, log, since)

    def open(self, client: Client, log: TopicPartition, since: int) -> None:
        assert self.tenants.setdefault((log, since), client.member.id) == client.member.id, (
            "two in one tenure"
        )
        if not self.has_harm:
            others = [other for other in self.clients if log in other.reading or log in other.closing]
            assert others == [], "handed over before it was let go"
        client.reading[log] = since

    def close(self, client: Client) -> None:
        """What was revoked is let go of now."""
        if client.is_connected and client.closing:
            logs, client.closing = client.closing, {}
            client.member.released(logs)
            self.append(client)

    def tick(self, client: Client) -> None:
        if client.is_dead:
            return
        for peer in client.member.tick(self.now_s):
            found = [other for other in self.clients if other.member.id == peer and other.is_connected]
            if found and client.is_connected:
                found[0].inbox.append(client.member.id)
            elif client.is_connected:
                client.member.vanished(peer)
        self.append(client)

    def hear(self, client: Client) -> None:
        if client.inbox and not client.is_dead:
            client.member.heard(client.inbox.pop(0), self.now_s)

    def deafen(self, client: Client) -> None:
        """Heartbeats get lost."""
        self.has_harm = True
        client.inbox = []

    def disconnect(self, client: Client) -> None:
        self.has_harm = True
        client.is_connected = False
        client.reading, client.closing = {}, {}
        client.member.disconnect()

    def kill(self, client: Client) -> None:
        self.has_harm = True
        client.is_dead, client.is_connected = True, False
        client.reading, client.closing = {}, {}

    def leave(self, client: Client) -> None:
        if client.is_connected and client.member.is_in:
            client.reading, client.closing = {}, {}
            client.member.leave()
            self.append(client)
            client.is_connected, client.is_leaving = False, True

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    # -- the end ---------------------------------------------------------------------------

    def settle(self) -> None:
        """No more harm: everybody does its work until nothing changes."""
        for _ in range(80):
            self.wait(0.5)
            for client in self.clients:
                if client.is_dead or client.is_leaving:
                    continue
                self.connect(client)
                self.read(client, len(self.log))
                while client.inbox:
                    self.hear(client)
                self.tick(client)
                self.poll(client)
                self.close(client)


steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("start", "read", "read", "read", "poll", "poll", "close", "tick", "hear", "deafen"),
                *("disconnect", "connect", "kill", "leave", "wait", "fail"),
            ]
        ),
        st.integers(0, 4),
        st.floats(0.1, 4.0),
    ),
    max_size=80,
)
peaceful = st.lists(
    st.tuples(
        st.sampled_from(["start", "read", "read", "read", "poll", "poll", "close", "leave"]),
        st.integers(0, 4),
        st.just(0.0),
    ),
    max_size=80,
)


def play(world: World, history: list[tuple[str, int, float]]) -> None:
    world.start()
    for what, who, seconds in history:
        client = world.clients[who % len(world.clients)]
        if what == "start":
            world.start()
        elif what == "wait":
            world.wait(seconds)
        elif what == "fail":
            for log in client.member.held[:1]:
                world.has_harm = True
                client.member.failed(log)
        else:
            getattr(world, what)(client)


def require_peace(world: World) -> None:
    alive = [client for client in world.clients if not client.is_dead and not client.is_leaving]
    if not alive:
        return
    held = [log for client in alive for log in client.reading]
    assert sorted(held) == sorted(LOGS), "each log has one reader"
    loads = [len(client.reading) for client in alive]
    assert max(loads) - min(loads) <= 1
    assert all(set(client.member.held) == set(client.reading) for client in alive)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_never_two_in_one_tenure_and_peace_in_the_end(history):
    world = World()
    play(world, history)
    world.settle()
    require_peace(world)


@settings(max_examples=300, deadline=None)
@given(peaceful)
def test_without_harm_nobody_opens_what_another_still_has(history):
    world = World()
    play(world, history)
    world.settle()
    require_peace(world)
    assert not any(isinstance(event, Expired) for event in world.log)


def test_a_member_that_vanished_is_found_out_by_the_first_heartbeat():
    world = World()
    world.start()
    world.start()
    world.settle()
    world.kill(world.clients[0])
    world.wait(1.0)
    world.tick(world.clients[1])
    assert isinstance(world.log[-1], Expired)


def test_a_member_that_is_silent_is_expired_after_its_session_only():
    member = Member({"t": 1}, SESSION_S, MAX_POLL_S, 0.0)
    member.enter("a")
    member.take_outbox()
    member.apply(0, Joined("b", {"t": 1}, 10.0), 0.0)
    member.apply(1, Joined("a", {"t": 1}, SESSION_S), 0.0)
    for quarter in range(41):
        member.polled(quarter / 4)
        member.tick(quarter / 4)
    assert member.take_outbox() == []
    member.tick(10.25)
    assert member.take_outbox() == [Expired("b", by="a")]


def test_who_hung_itself_does_not_blame_the_others():
    member = Member({"t": 1}, SESSION_S, MAX_POLL_S, 0.0)
    member.enter("a")
    member.apply(0, Joined("b", {"t": 1}, SESSION_S), 0.0)
    member.apply(1, Joined("a", {"t": 1}, SESSION_S), 0.0)
    member.take_outbox()
    member.tick(0.5)
    member.tick(20.0)
    assert not any(isinstance(event, Expired) for event in member.take_outbox())


def test_a_member_that_nobody_polls_leaves_and_tells_that_it_lost_everything():
    member = Member({"t": 1}, 100.0, MAX_POLL_S, 0.0)
    member.enter("a")
    member.apply(0, member.take_outbox()[0], 0.0)
    changes = member.take_changes()
    assert changes is not None
    assert changes.assigned == (TopicPartition("t", 0),)
    member.tick(MAX_POLL_S + 1)
    assert [type(event).__name__ for event in member.take_outbox()] == ["Left"]
    assert member.is_out
    assert member.stale() == [TopicPartition("t", 0)]
    lost = member.take_changes()
    assert lost is not None
    assert lost.lost == (TopicPartition("t", 0),)


def test_a_member_without_a_log_is_told_so_once():
    world = World()
    for _ in range(5):
        world.start()
    world.settle()
    idle = [client for client in world.clients if not client.reading]
    assert len(idle) == 1
    assert idle[0].member.take_changes() is None


def test_progress_goes_on_where_the_former_owner_stopped():
    member = Member({"t": 1}, SESSION_S, MAX_POLL_S, 0.0)
    member.enter("a")
    member.apply(0, member.take_outbox()[0], 0.0)
    member.take_changes()
    member.progressed(TopicPartition("t", 0), 17)
    for offset, event in enumerate(member.take_outbox(), start=1):
        member.apply(offset, event, 0.0)
    assert member.state.progress == {TopicPartition("t", 0): 17}


def test_a_log_being_let_go_is_not_taken_up_again_before_that_is_done():
    first, log = Member({"t": 2}, SESSION_S, MAX_POLL_S, 0.0), TopicPartition("t", 1)
    first.enter("a")
    for offset, event in enumerate([*first.take_outbox(), Joined("b", {"t": 2}, SESSION_S)]):
        first.apply(offset, event, 0.0)
        changes = first.take_changes()
    assert changes is not None
    assert changes.revoked == (log,)
    first.apply(2, Left("b"), 0.0)
    assert first.state.targets[log] == "a"
    assert first.take_changes() is None
    first.released((log,))
    first.apply(3, first.take_outbox()[0], 0.0)
    again = first.take_changes()
    assert again is not None
    assert again.assigned == (log,)
