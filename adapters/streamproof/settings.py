"""Where settings come from: arguments, then the URL's options, then ``STREAMPROOF_…`` variables,
then ``[tool.streamproof]`` in the nearest ``pyproject.toml``, then the defaults.

Settings are ``url``, ``namespace``, ``timeout_s`` and the plain fields of
:class:`~streamproof.options.ProducerOptions` and :class:`~streamproof.options.ConsumerOptions`.
Options of a URL that are no settings are left to the driver: they are the client library's own.
"""

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.records import AtTime
from streamproof.url import Address, parse_address, parse_flag

_NOT_SETTINGS = {"topics", "pattern", "group", "transactional_id", "native"}
_CONNECTION = {"namespace": str, "timeout_s": float}


def _plain_fields(options: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(options)
    return {item.name: hints[item.name] for item in fields(options) if item.name not in _NOT_SETTINGS}


_PRODUCER = _plain_fields(ProducerOptions)
_CONSUMER = _plain_fields(ConsumerOptions)
_KNOWN: dict[str, Any] = {**_CONNECTION, **_PRODUCER, **_CONSUMER}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings in force. ``origins`` tells of each one that is not a default where it came from."""

    address: Address
    namespace: str = ""
    timeout_s: float = 10.0
    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def producer_options(self, given: Mapping[str, Any]) -> ProducerOptions:
        """The options of a producer: those given, then these settings, then the defaults."""
        options: ProducerOptions = self._options(ProducerOptions, _PRODUCER, given)
        return options

    def consumer_options(self, given: Mapping[str, Any]) -> ConsumerOptions:
        """The options of a consumer: those given, then these settings, then the defaults."""
        options: ConsumerOptions = self._options(ConsumerOptions, _CONSUMER, given)
        return options

    def _options(self, kind: type[Any], known: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        names = {item.name for item in fields(kind)}
        unknown = sorted(set(given) - names)
        if unknown:
            raise ConfigurationError(
                f"unknown option {unknown[0]!r}: {kind.__name__} has {', '.join(sorted(names))}"
            )
        own = {name: value for name, value in self.values.items() if name in known}
        return kind(**{**own, **given})


def resolve(
    url: str | None,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Put the settings together; :class:`ConfigurationError` names the source of a bad one."""
    surroundings = os.environ if environment is None else environment
    project = _project_settings(Path.cwd() if folder is None else folder)
    url = url or surroundings.get("STREAMPROOF_URL") or project.get("url")
    if not url:
        raise ConfigurationError(
            "no backend was named: pass a URL such as memory://name, or set STREAMPROOF_URL"
        )
    address = parse_address(url)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, value: Any, origin: str) -> None:
        values[name], origins[name] = _typed(name, value, origin), origin

    for name, value in project.items():
        if name != "url":
            take(_known(name, "[tool.streamproof]"), value, "[tool.streamproof]")
    for name in _KNOWN:
        variable = f"STREAMPROOF_{name.upper()}"
        if variable in surroundings:
            take(name, surroundings[variable], variable)
    for name in address.options:
        if name in _KNOWN:
            take(name, address.options[name], "the URL")
    for name, value in arguments.items():
        if value is not None:
            take(_known(name, "the arguments"), value, "the arguments")
    rest = {name: value for name, value in address.options.items() if name not in _KNOWN}
    return Settings(
        address=replace(address, options=rest),
        namespace=values.pop("namespace", ""),
        timeout_s=values.pop("timeout_s", 10.0),
        values=values,
        origins=origins,
    )


def _known(name: str, origin: str) -> str:
    if name not in _KNOWN:
        raise ConfigurationError(f"unknown setting {name!r} in {origin}: known: {', '.join(sorted(_KNOWN))}")
    return name


def _project_settings(folder: Path) -> dict[str, Any]:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            try:
                found = tomllib.loads(file.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
                raise ConfigurationError(f"{file} cannot be read: {cause}") from cause
            section = found.get("tool", {}).get("streamproof", {})
            return dict(section)
    return {}


def _typed(name: str, value: Any, origin: str) -> Any:
    """The value in the setting's type; text from a URL or a variable is converted."""
    wanted = _KNOWN[name]
    choices = set(typing.get_args(wanted)) if _is_union(wanted) else {wanted}
    if type(None) in choices and isinstance(value, str) and value.lower() in ("", "none"):
        return None
    if isinstance(value, AtTime) and AtTime in choices:
        return value
    for choice in choices:
        if typing.get_origin(choice) is Literal:
            if value in typing.get_args(choice):
                return value
        elif choice is bool:
            return value if isinstance(value, bool) else parse_flag(name, str(value))
        elif choice in (int, float) and not isinstance(value, bool):
            try:
                return choice(value)
            except (TypeError, ValueError):
                continue
        elif choice is str and isinstance(value, str):
            return value
    raise ConfigurationError(f"{name}={value!r} from {origin} is not possible: it takes {wanted}")


def _is_union(wanted: Any) -> bool:
    return typing.get_origin(wanted) in (typing.Union, types.UnionType)
