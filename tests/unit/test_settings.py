"""Settings: where each comes from, which one wins, what is refused and how."""

from pathlib import Path
from typing import Any

import pytest

from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import AtTime
from streamproof.settings import Settings, resolve


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.streamproof]\nurl = "memory://toml"\nlinger_ms = 1\nprefetch = 11\ntimeout_s = 1.5\n'
    )
    return tmp_path


def resolved(
    url: str | None = "memory://x",
    arguments: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    folder: Path = Path("/nonexistent"),
) -> Settings:
    return resolve(url, arguments or {}, environment or {}, folder)


class TestPrecedence:
    def test_without_anything_the_defaults_hold(self) -> None:
        settings = resolved()
        assert (settings.namespace, settings.timeout_s, dict(settings.values)) == ("", 10.0, {})
        assert settings.producer_options({}) == ProducerOptions()
        assert settings.origins == {}

    def test_the_project_file_comes_before_the_defaults(self, project: Path) -> None:
        settings = resolved(folder=project)
        assert settings.producer_options({}).linger_ms == 1.0
        assert settings.origins["linger_ms"] == "[tool.streamproof]"

    def test_the_file_of_a_folder_above_counts(self, project: Path) -> None:
        below = project / "a" / "b"
        below.mkdir(parents=True)
        assert resolved(None, folder=below).address.redacted == "memory://toml"

    def test_a_variable_comes_before_the_file(self, project: Path) -> None:
        settings = resolved(environment={"STREAMPROOF_LINGER_MS": "2"}, folder=project)
        assert settings.producer_options({}).linger_ms == 2.0
        assert settings.origins["linger_ms"] == "STREAMPROOF_LINGER_MS"

    def test_the_url_comes_before_a_variable(self, project: Path) -> None:
        settings = resolved(
            "memory://x?linger_ms=3", environment={"STREAMPROOF_LINGER_MS": "2"}, folder=project
        )
        assert settings.producer_options({}).linger_ms == 3.0
        assert settings.origins["linger_ms"] == "the URL"

    def test_an_argument_comes_before_the_url(self) -> None:
        settings = resolved("memory://x?linger_ms=3&namespace=url.", {"linger_ms": 4, "namespace": "arg."})
        assert settings.producer_options({}).linger_ms == 4.0
        assert settings.namespace == "arg."
        assert settings.origins == {"linger_ms": "the arguments", "namespace": "the arguments"}

    def test_what_a_producer_is_given_comes_first(self) -> None:
        settings = resolved(arguments={"linger_ms": 4, "acks": "leader", "is_idempotent": False})
        options = settings.producer_options({"linger_ms": 5})
        assert (options.linger_ms, options.acks) == (5.0, "leader")

    def test_what_a_consumer_is_given_comes_first(self) -> None:
        settings = resolved(arguments={"prefetch": 4, "order": "key"})
        options = settings.consumer_options({"topics": ("t",), "prefetch": 5, "start": AtTime(7)})
        assert (options.prefetch, options.order, options.start) == (5, "key", AtTime(7))

    def test_the_url_is_given_or_set_or_in_the_file(self, project: Path) -> None:
        environment = {"STREAMPROOF_URL": "memory://variable"}
        assert resolved("memory://given", environment=environment).address.hosts == ("given",)
        assert resolved(None, environment=environment, folder=project).address.hosts == ("variable",)
        assert resolved(None, folder=project).address.hosts == ("toml",)

    def test_none_as_namespace_or_timeout_means_not_given(self) -> None:
        settings = resolved("memory://x?timeout_s=3", {"namespace": None, "timeout_s": None})
        assert (settings.namespace, settings.timeout_s) == ("", 3.0)

    def test_none_as_a_setting_is_a_value(self) -> None:
        settings = resolved("memory://x?commit_interval_s=3", {"commit_interval_s": None})
        assert settings.consumer_options({"topics": ("t",)}).commit_interval_s is None

    def test_text_is_converted_to_the_type_of_the_setting(self) -> None:
        settings = resolved(
            "memory://x?prefetch=7&is_idempotent=off&commit_interval_s=none&start=latest&acks=leader"
        )
        assert dict(settings.values) == {
            "prefetch": 7,
            "is_idempotent": False,
            "commit_interval_s": None,
            "start": "latest",
            "acks": "leader",
        }

    def test_options_that_are_no_settings_are_left_to_the_driver(self) -> None:
        settings = resolved("kafka://h?linger_ms=3&socket.timeout.ms=7")
        assert settings.address.options == {"socket.timeout.ms": "7"}


class TestBadInput:
    def test_no_url_at_all(self) -> None:
        with pytest.raises(ConfigurationError, match="STREAMPROOF_URL"):
            resolved(None)

    @pytest.mark.parametrize(
        ("source", "origin"),
        [
            ({"url": "memory://x?linger_ms=soon"}, "the URL"),
            ({"environment": {"STREAMPROOF_LINGER_MS": "soon"}}, "STREAMPROOF_LINGER_MS"),
            ({"arguments": {"linger_ms": "soon"}}, "the arguments"),
            ({"arguments": {"linger_ms": "5"}}, "the arguments"),
            ({"arguments": {"linger_ms": None}}, "the arguments"),
            ({"arguments": {"linger_ms": True}}, "the arguments"),
            ({"url": "memory://x?linger_ms=nan"}, "the URL"),
            ({"url": "memory://x?linger_ms=inf"}, "the URL"),
        ],
    )
    def test_a_wrong_value_names_its_source(self, source: dict[str, Any], origin: str) -> None:
        with pytest.raises(ConfigurationError, match=f"linger_ms=.*from {origin}.*takes a number"):
            resolved(**source)

    @pytest.mark.parametrize("value", [1.5, "7", True, None])
    def test_a_whole_number_is_not_made_of_anything_else(self, value: object) -> None:
        with pytest.raises(ConfigurationError, match=r"prefetch=.*a whole number"):
            resolved(arguments={"prefetch": value})

    def test_choices_are_named(self) -> None:
        with pytest.raises(ConfigurationError, match=r"acks='most'.*'all' or 'leader' or 'none'"):
            resolved("memory://x?acks=most")

    def test_a_number_in_the_file_needs_no_quotes(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text('[tool.streamproof]\nprefetch = "11"\n')
        with pytest.raises(ConfigurationError, match=r"prefetch='11' from \[tool.streamproof\]"):
            resolved(folder=tmp_path)

    def test_an_unknown_setting_names_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match=r"unknown setting 'lingerms' in the arguments.*linger_ms"
        ):
            resolved(arguments={"lingerms": 5})
        (tmp_path / "pyproject.toml").write_text("[tool.streamproof]\nlingerms = 5\n")
        with pytest.raises(ConfigurationError, match=r"'lingerms' in \[tool.streamproof\]"):
            resolved(folder=tmp_path)

    def test_an_unknown_option_names_the_known_ones(self) -> None:
        with pytest.raises(ConfigurationError, match=r"unknown option 'lingerms'.*linger_ms"):
            resolved().producer_options({"lingerms": 5})
        with pytest.raises(ConfigurationError, match=r"unknown option 'acks'.*prefetch"):
            resolved().consumer_options({"topics": ("t",), "acks": "all"})

    @pytest.mark.parametrize("given", [{"linger_ms": "5"}, {"buffer_records": 1.5}, {"is_idempotent": 1}])
    def test_options_of_a_wrong_type_are_refused_too(self, given: dict[str, object]) -> None:
        with pytest.raises(ConfigurationError, match="the arguments"):
            resolved().producer_options(given)

    @pytest.mark.parametrize("namespace", ["a b", "a/", "ü", "a*"])
    def test_a_namespace_begins_topic_names(self, namespace: str) -> None:
        assert resolved(arguments={"namespace": "a.B_c-1."}).namespace == "a.B_c-1."
        with pytest.raises(ConfigurationError, match="namespace="):
            resolved(arguments={"namespace": namespace})

    def test_a_project_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("this is no TOML")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            resolved(folder=tmp_path)


class TestSecrets:
    def test_no_password_and_no_option_of_the_url_is_shown(self) -> None:
        settings = resolved("kafka://me:hunter2@h:9092?sasl.password=hunter2&linger_ms=1")
        assert "hunter2" not in repr(settings)
        assert settings.address.options["sasl.password"] == "hunter2"

    def test_native_settings_are_not_shown(self) -> None:
        native = {"sasl.password": "hunter2"}
        settings = resolved()
        assert "hunter2" not in repr(settings.producer_options({"native": native}))
        assert "hunter2" not in repr(settings.consumer_options({"native": native, "topics": ("t",)}))
        assert settings.producer_options({"native": native}).native == native


class TestOptions:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"acks": "most"},
            {"acks": "leader"},
            {"linger_ms": -1},
            {"linger_ms": "5"},
            {"linger_ms": float("nan")},
            {"buffer_records": 0},
            {"buffer_records": 1.5},
            {"delivery_timeout_s": 0},
            {"delivery_timeout_s": float("inf")},
            {"compression": "rar"},
        ],
    )
    def test_a_producers_are_checked(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            ProducerOptions(**wrong)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"start": "first"},
            {"order": "none"},
            {"isolation": "serializable"},
            {"prefetch": 0},
            {"session_timeout_s": 0},
            {"max_poll_interval_s": -1},
            {"commit_interval_s": 0},
            {"group": ""},
            {"group": 7},
        ],
    )
    def test_a_consumers_are_checked(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            ConsumerOptions(topics=("t",), **wrong)

    @pytest.mark.parametrize("pattern", ["(", "[a", 7])
    def test_a_pattern_must_be_a_regular_expression(self, pattern: Any) -> None:
        with pytest.raises(ConfigurationError, match="no regular expression"):
            ConsumerOptions(pattern=pattern)

    @pytest.mark.parametrize("given", [{}, {"topics": ("t",), "pattern": "t"}])
    def test_topics_or_a_pattern_and_not_both(self, given: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="exactly one"):
            ConsumerOptions(**given)
