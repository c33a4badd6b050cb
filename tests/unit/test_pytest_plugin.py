"""The pytest plugin, in pytest runs of its own."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PLUGIN = "streamproof_harness.pytest_plugin"

USES_THE_BUS = """
    def test_one(bus):
        bus.admin().create_topic("topic")
        bus.producer().send("topic", b"1").result()
        assert [record.value for record in bus.consumer("topic").poll()] == [b"1"]

    def test_two(bus):
        assert bus.admin().list_topics() == []
        bus.admin().create_topic("topic")
"""

USES_THE_ASYNC_BUS = """
    import asyncio
    import pytest

    async def test_one(async_bus):
        await (await async_bus.admin()).create_topic("topic")
        await (await (await async_bus.producer()).send("topic", b"1")).result()
        consumer = await async_bus.consumer("topic", group="group")
        assert [record.value for record in await consumer.poll()] == [b"1"]

    @pytest.mark.parametrize("number", [1, 2])
    async def test_two(async_bus, number, tmp_path):
        assert tmp_path.exists()
        assert await (await async_bus.admin()).list_topics() == []
        await asyncio.sleep(0)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Only this plugin, whatever else is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("CI", raising=False)
    return pytester


def outcomes(pytester: pytest.Pytester, *arguments: str) -> dict[str, int]:
    """What a run with this plugin alone comes to."""
    return pytester.runpytest_inprocess("-p", PLUGIN, *arguments).parseoutcomes()


def test_each_test_has_a_bus_in_a_namespace_of_its_own(run: pytest.Pytester) -> None:
    run.makepyfile(USES_THE_BUS)
    assert outcomes(run) == {"passed": 2}


def test_coroutines_need_no_other_plugin(run: pytest.Pytester) -> None:
    run.makepyfile(USES_THE_ASYNC_BUS)
    assert outcomes(run) == {"passed": 3}


def test_both_may_be_used_in_one_run_and_see_each_other(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        from streamproof import connect

        async def test_both(async_bus, bus, streamproof_url):
            await (await async_bus.admin()).create_topic("topic")
            with connect(streamproof_url) as plain:
                [name] = plain.admin().list_topics()
            assert name.startswith("test_both-")
            assert name.endswith(".topic")
            assert bus.admin().list_topics() == []
        """
    )
    assert outcomes(run) == {"passed": 1}


def test_topics_are_deleted_and_the_bus_is_closed_after_the_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        from streamproof import Closed, connect

        kept = []

        def test_leaves_things(bus):
            bus.admin().create_topic("topic")
            kept.extend([bus, bus.consumer("topic", group="group"), bus.producer()])
            raise RuntimeError("and fails")

        async def test_leaves_things_too(async_bus):
            await (await async_bus.admin()).create_topic("topic")
            kept.extend([async_bus, await async_bus.consumer("topic", group="group")])

        def test_finds_nothing(streamproof_url):
            bus, consumer, producer, async_bus, async_consumer = kept
            assert consumer.is_closed
            assert producer.is_closed
            assert async_consumer.is_closed
            with pytest.raises(Closed):
                bus.admin()
            with connect(streamproof_url) as plain:
                assert plain.admin().list_topics() == []
        """
    )
    assert outcomes(run) == {"passed": 2, "failed": 1}


def test_a_test_may_close_its_bus(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        def test_it(bus):
            bus.admin().create_topic("topic")
            bus.close()

        async def test_it_async(async_bus):
            await async_bus.close()
        """
    )
    assert outcomes(run) == {"passed": 2}


def test_names_that_no_topic_could_have_are_fine(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("word", ["a b", "ü/*", "x" * 300, ""])
        def test_it(bus, word):
            bus.admin().create_topic("topic")
            assert bus.admin().list_topics() == ["topic"]
        """
    )
    assert outcomes(run) == {"passed": 4}


def test_the_backend_may_be_a_url(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        def test_it(bus, streamproof_url):
            assert streamproof_url == "memory://chosen"
            assert bus.url == "memory://chosen"
        """
    )
    assert outcomes(run, "--backend=memory://chosen") == {"passed": 1}


def test_an_unknown_backend_is_refused_before_the_first_test(run: pytest.Pytester) -> None:
    run.makepyfile(USES_THE_BUS)
    result = run.runpytest_subprocess("-p", PLUGIN, "--backend=kafak")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --backend=kafak is unknown: use memory, kafka, rabbitmq or a URL"])


@pytest.mark.parametrize("kind", ["kafka", "rabbitmq"])
def test_an_absent_broker_skips_with_the_reason_and_fails_in_ci(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for variable in ("STREAMPROOF_KAFKA_URL", "STREAMPROOF_RABBITMQ_URL"):
        monkeypatch.delenv(variable, raising=False)
    run.makeconftest(
        f"""
        from streamproof_harness import servers

        servers.find = lambda kind: servers.Absent("{kind}", "none is installed", "install one")
        """
    )
    run.makepyfile(USES_THE_BUS)
    arguments = ("-p", PLUGIN, "-rs", f"--backend={kind}")
    result = run.runpytest_subprocess(*arguments)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*none is installed*"])
    monkeypatch.setenv("CI", "true")
    run.runpytest_subprocess(*arguments).assert_outcomes(errors=2)


def test_the_given_broker_is_used(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kafka_url: str
) -> None:
    monkeypatch.setenv("STREAMPROOF_KAFKA_URL", kafka_url)
    run.makepyfile(USES_THE_BUS + USES_THE_ASYNC_BUS.replace("test_", "test_async_"))
    assert outcomes(run, "--backend=kafka") == {"passed": 5}


def test_async_bus_in_a_function_says_what_to_do(run: pytest.Pytester) -> None:
    run.makepyfile("def test_it(async_bus): pass")
    result = run.runpytest_inprocess("-p", PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*write async def, or use bus*"])


def test_other_tests_are_left_alone(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import sys

        def test_plain(): pass

        def test_nothing_was_imported():
            assert "streamproof" not in sys.modules
        """
    )
    run.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=2)


def test_another_plugin_may_own_the_option(run: pytest.Pytester) -> None:
    run.makepyfile(
        other="""
        def pytest_addoption(parser):
            parser.addoption("--backend", default="theirs")
        """,
        test_it="""
        def test_it(bus, request):
            assert request.config.getoption("--backend") == "theirs"
            assert bus.url == "memory://mine"
        """,
    )
    result = run.runpytest_subprocess("-p", "other", "-p", PLUGIN, "--streamproof-backend=memory://mine")
    result.assert_outcomes(passed=1)


def test_pytest_asyncio_runs_its_own_tests(run: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    body = USES_THE_ASYNC_BUS.replace("    async def", "    @pytest.mark.asyncio\n    async def")
    run.makepyfile(
        body
        + """
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def the_loop():
        return asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_it_is_one_loop(async_bus, the_loop):
        assert asyncio.get_running_loop() is the_loop
        assert await (await async_bus.admin()).list_topics() == []

    async def test_that_it_does_not_run(async_bus):
        assert await (await async_bus.admin()).list_topics() == []
    """
    )
    options = ("-p", "asyncio", "-p", PLUGIN)
    run.runpytest_subprocess(*options, "-o", "asyncio_mode=strict").assert_outcomes(passed=5)
    run.runpytest_subprocess(*options, "-o", "asyncio_mode=auto").assert_outcomes(passed=5)


def test_anyio_runs_its_own_tests(run: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    run.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def the_loop(anyio_backend):
            return asyncio.get_running_loop()

        @pytest.mark.anyio
        async def test_it_is_one_loop(async_bus, the_loop):
            assert asyncio.get_running_loop() is the_loop
            assert await (await async_bus.admin()).list_topics() == []

        async def test_that_it_does_not_run(async_bus):
            assert await (await async_bus.admin()).list_topics() == []
        """
    )
    run.runpytest_subprocess("-p", "anyio", "-p", PLUGIN).assert_outcomes(passed=2)


HEAVY = ("asyncio", "faker", "msgspec", "numpy", "streamproof", "streamproof_harness.servers")


def test_loading_it_imports_nothing_heavy() -> None:
    code = f"""
import sys
import pytest
before = set(sys.modules)
import {PLUGIN}
print(*sorted((set(sys.modules) - before) & set({HEAVY!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
