"""Where settings come from: arguments, then the URL's options, then ``STREAMPROOF_…`` variables,
then ``[tool.streamproof]`` in the nearest ``pyproject.toml``, then the defaults.

Settings are ``url``, ``namespace``, ``timeout_s`` and the plain fields of
:class:`~streamproof.options.ProducerOptions` and :class:`~streamproof.options.ConsumerOptions`.
Options of a URL that are no settings are left to the driver: they are the client library's own.
"""

import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from streamproof.checks import TOPIC_CHARACTERS
from streamproof.errors import ConfigurationError
from streamproof.options import ConsumerOptions, ProducerOptions
from streamproof.url import Address, parse_address, parse_flag

_NOT_SETTINGS = {"topics", "pattern", "group", "transactional_id", "native"}
_CONNECTION = {"namespace": str, "timeout_s": float}
_TYPED_ORIGINS = ("the arguments", "[tool.streamproof]")


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
        chosen = {
            name: _typed(name, value, "the arguments") if name in known else value
            for name, value in given.items()
        }
        return kind(**{**own, **chosen})


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
        # ``None`` for the namespace or the timeout means that none was given.
        if value is not None or name not in _CONNECTION:
            take(_known(name, "the arguments"), value, "the arguments")
    _require_namespace(values.get("namespace", ""))
    rest = {name: value for name, value in address.options.items() if name not in _KNOWN}
    return Settings(
        address=replace(address, options=rest),
        namespace=values.pop("namespace", ""),
        timeout_s=values.pop("timeout_s", 10.0),
        values=values,
        origins=origins,
    )


def _require_namespace(namespace: str) -> None:
    if not set(namespace) <= TOPIC_CHARACTERS:
        raise ConfigurationError(
            f"namespace={namespace!r} is not possible: use letters, digits and . _ - as in topics' names"
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
    """The value in the setting's type. A URL and a variable hold text, which is converted; an
    argument or a TOML file has types of its own, and they must fit."""
    wanted = _KNOWN[name]
    choices = typing.get_args(wanted) if _is_union(wanted) else (wanted,)
    is_text = isinstance(value, str) and origin not in _TYPED_ORIGINS
    if type(None) in choices and (value is None or (is_text and value.lower() in ("", "none"))):
        return None
    for choice in choices:
        found = _from_text(name, value, choice) if is_text else _fitting(value, choice)
        if found is not None:
            return found
    takes = " or ".join(map(_described, choices))
    raise ConfigurationError(f"{name}={value!r} from {origin} is not possible: it takes {takes}")


def _from_text(name: str, text: str, wanted: Any) -> Any:
    if wanted is bool:
        return parse_flag(name, text)
    if wanted in (int, float):
        try:
            return _fitting(wanted(text), wanted)
        except ValueError:
            return None
    return _fitting(text, wanted)


def _fitting(value: Any, wanted: Any) -> Any:
    """The value if it is one of the wanted kind, else ``None``."""
    if typing.get_origin(wanted) is Literal:
        return value if value in typing.get_args(wanted) else None
    if wanted is float and type(value) in (int, float):
        return float(value) if math.isfinite(value) else None
    if wanted is int:
        return value if type(value) is int else None
    return value if isinstance(wanted, type) and isinstance(value, wanted) else None


def _described(wanted: Any) -> str:
    if typing.get_origin(wanted) is Literal:
        return " or ".join(map(repr, typing.get_args(wanted)))
    words = {float: "a number", int: "a whole number", bool: "on or off", str: "text", type(None): "none"}
    return words.get(wanted, getattr(wanted, "__name__", str(wanted)))


def _is_union(wanted: Any) -> bool:
    return typing.get_origin(wanted) in (typing.Union, types.UnionType)
