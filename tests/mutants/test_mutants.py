"""Each check finds the defects it is there for in a run, from the history alone, and nothing when
nothing is broken. A mutant that survives is a check that would let that defect pass."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from streamproof import ConfigurationError
from streamproof_harness.checkers import CHECKS
from streamproof_harness.cli import command
from streamproof_harness.clients.plans import Place
from streamproof_harness.mutants import MUTANTS, Mutant, mutant_named
from streamproof_harness.mutants._async import clients, consumers, producers
from streamproof_harness.mutants._sync import clients as sync_clients
from streamproof_harness.mutants._sync import consumers as sync_consumers
from streamproof_harness.mutants._sync import producers as sync_producers
from streamproof_harness.mutants._sync.seams import Seams
from streamproof_harness.mutants.engine import ENGINES
from streamproof_harness.mutants.matrix import Bench, one_each_way
from streamproof_harness.scenario import Backend
from streamproof_scenarios import scenario_named

WITHOUT_MUTANT: dict[str, str] = {}

ONE_OF_EACH_SEAM = [
    "acks-unsent",
    "swaps-contents",
    "commits-the-next",
    "handles-twice",
    "loses-a-dead-letter",
    "gives-up-early",
    "forgets-an-output",
    "polls-its-own-sends",
    *(mutant.name for mutant in MUTANTS if mutant.is_in_engine),
]
ON_KAFKA = [
    "acks-unsent",
    "swaps-contents",
    "commits-on-poll",
    "acknowledges-first",
    "reads-uncommitted",
    "goes-on-after-an-abort",
    "polls-what-others-have-open",
]
ON_RABBITMQ = ["acks-unsent", "flips-a-bit", "repeats-a-record", "acknowledges-first"]


def named(mutants: list[str]) -> list[object]:
    return [pytest.param(mutant_named(name), id=name) for name in mutants]


@pytest.mark.parametrize("mutant", named([mutant.name for mutant in MUTANTS]))
def test_its_check_kills_the_mutant_and_no_other_lights_up_without_reason(mutant: Mutant) -> None:
    trial = Bench(scenario_named).try_mutant(mutant)
    assert trial.problem is None, trial.found


@pytest.mark.parametrize("mutant", named(ONE_OF_EACH_SEAM))
def test_the_async_clients_can_be_broken_alike(mutant: Mutant) -> None:
    trial = Bench(scenario_named, colour="async").try_mutant(mutant)
    assert trial.problem is None, trial.found


@pytest.mark.parametrize("mutant", [pytest.param(one, id=one.name) for one in one_each_way(MUTANTS)])
def test_the_same_run_unbroken_is_valid(mutant: Mutant) -> None:
    assert Bench(scenario_named).try_control(mutant).problem is None


@pytest.mark.parametrize("mutant", named(ON_KAFKA))
def test_on_kafka(mutant: Mutant, kafka_url: str) -> None:
    _on_broker(mutant, kafka_url, "kafka")


@pytest.mark.parametrize("mutant", named(ON_RABBITMQ))
def test_on_rabbitmq(mutant: Mutant, rabbitmq_url: str) -> None:
    _on_broker(mutant, rabbitmq_url, "rabbitmq")


def _on_broker(mutant: Mutant, url: str, backend: Backend) -> None:
    trial = Bench(scenario_named, url, backend).try_mutant(replace(mutant, patience_s=60.0))
    assert trial.problem is None, trial.found


def test_every_check_has_a_mutant():
    shown = {mutant.check for mutant in MUTANTS}
    assert sorted(CHECKS) == sorted(shown | set(WITHOUT_MUTANT))
    assert not shown & set(WITHOUT_MUTANT)


def test_every_broken_part_belongs_to_a_mutant_in_both_colours():
    parts = [
        *(consumers.CONSUMERS, clients.CLIENTS, clients.SOURCES, clients.SINKS, clients.APPLICATIONS),
        producers.PRODUCERS,
    ]
    twins = [
        *(sync_consumers.CONSUMERS, sync_clients.CLIENTS, sync_clients.SOURCES, sync_clients.SINKS),
        *(sync_clients.APPLICATIONS, sync_producers.PRODUCERS),
    ]
    broken = sorted(name for part in parts for name in part)
    assert broken == sorted(name for part in twins for name in part)
    assert sorted([*broken, *ENGINES]) == sorted(
        mutant.name for mutant in MUTANTS if mutant.plan is None and mutant.options is None
    )
    assert sorted(ENGINES) == sorted(mutant.name for mutant in MUTANTS if mutant.is_in_engine)


def test_names_and_reasons_are_those_of_checks_and_scenarios():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert {mutant.check, *mutant.others} <= set(CHECKS)
        assert mutant.check not in mutant.others
        scenario_named(mutant.scenario).with_parameters(mutant.parameters)


def test_a_mutant_that_does_not_apply_is_told_from_one_that_survives():
    never_paused = replace(
        mutant_named("skips-after-a-pause"),
        scenario="fan-out",
        parameters={"rate": 2000, "seconds": 0.1, "customers": 100},
    )
    trial = Bench(scenario_named).try_mutant(never_paused)
    assert trial.problem is not None
    assert "did no harm" in trial.problem


def test_a_check_that_finds_nothing_lets_its_mutant_survive():
    wrong = replace(mutant_named("stores-a-stranger"), check="corrupted")
    trial = Bench(scenario_named).try_mutant(wrong)
    assert not trial.is_killed
    assert trial.others == ("phantom",)
    assert trial.problem == "corrupted did not find it"


def test_a_reason_must_be_stated_for_every_other_check():
    silent = replace(mutant_named("begins-one-too-late"), others={})
    trial = Bench(scenario_named).try_mutant(silent)
    assert trial.is_killed
    assert trial.unexplained == ("unseen", "resume-not-at-commit")
    assert trial.problem is not None


def test_an_unknown_mutant_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="there is no mutant 'drops-it': choose one of begins-one"):
        mutant_named("drops-it")


def test_a_mutant_whose_check_needs_what_the_backend_lacks_has_no_trial():
    bench = Bench(scenario_named, capabilities={"offsets": False})
    assert bench.why_not(mutant_named("skips-a-record")) == "poll-skip needs offsets of the backend"
    assert bench.why_not(mutant_named("stores-no-progress")) == "the defect needs offsets of the backend"
    assert bench.why_not(mutant_named("flips-a-bit")) is None


def test_a_defect_of_the_engine_has_no_trial_on_a_real_broker():
    bench = Bench(scenario_named, "kafka://", "kafka")
    assert bench.why_not(mutant_named("forgets-to-fence")) == "the defect lies in the in-memory engine"
    assert bench.why_not(mutant_named("reads-uncommitted")) is None


@pytest.mark.parametrize("is_consumer", [True, False])
def test_a_broken_driver_passes_the_verbs_of_transactions_on(is_consumer: bool):
    place = Place("memory://", mutant="swaps-contents" if is_consumer else "acks-unsent")
    strikes: list[None] = []
    with Seams(place, lambda: strikes.append(None)).bus() as bus:
        bus.admin().create_topic("orders", 1)
        with bus.producer(transactional_id="p") as producer, bus.consumer("orders", group="g") as consumer:
            consumer.wait_assigned()
            with producer.transaction(consumer) as transaction:
                transaction.send("orders", b"one")
            assert [record.value for record in consumer.poll(timeout_s=10.0)] == [b"one"]
            with producer.transaction(consumer):
                pass
            assert list(consumer.committed().values()) == [1]
            producer.vanish()
            consumer.vanish()
    assert not strikes


def test_the_command_prints_the_matrix_as_json():
    done = CliRunner().invoke(command, ["mutants", "flips-a-bit", "stores-twice", "--json"])
    matrix = json.loads(done.stdout)
    keys = ("name", "check", "killed", "others")
    assert [[row[key] for key in keys] for row in matrix["mutants"]] == [
        ["flips-a-bit", "corrupted", True, []],
        ["stores-twice", "log-duplicate", True, ["duplicate-delivery", "attempts-wrong"]],
    ]
    assert [(row["scenario"], row["verdict"]) for row in matrix["controls"]] == [("fan-out", "valid")]


def test_the_command_prints_the_matrix_for_people():
    done = CliRunner().invoke(command, ["mutants", "flips-a-bit", "begins-one-too-late"])
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "                     1  2  3  4",
        "flips-a-bit          ·  ·  ●  ·",
        "begins-one-too-late  ●  +  ·  +",
    ]
    assert lines[-1] == "2 of 2 mutants killed, 1 of 1 controls clean"
