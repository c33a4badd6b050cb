"""The catalogue: one file, one scenario, each to be read as a page of documentation."""

from importlib import import_module
from pkgutil import iter_modules

from streamproof import ConfigurationError
from streamproof_harness.scenario import Scenario


def catalogue() -> dict[str, Scenario]:
    """All scenarios by name, in the order of their names."""
    found: dict[str, Scenario] = {}
    for module in iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Scenario):
                found[value.name] = value
    return dict(sorted(found.items()))


def scenario_named(name: str) -> Scenario:
    """One scenario; :class:`ConfigurationError` names those that there are."""
    known = catalogue()
    if name not in known:
        raise ConfigurationError(f"there is no scenario {name!r}: choose one of {', '.join(known)}")
    return known[name]
