"""Names of people and places for synthetic users, from faker, drawn once.

What faker draws from a seed may change with its version, so the version goes into a history's
header: a sequence with names in it is the same for one seed *and* one version of faker.
"""

from dataclasses import dataclass

from streamproof.errors import MissingExtra

_HOW_MANY = 100


@dataclass(frozen=True, slots=True)
class Names:
    """Pools to combine from, and the versions of the libraries they depend on."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    places: tuple[str, ...]
    library_versions: tuple[tuple[str, str], ...] = ()


def draw_names(seed: int) -> Names:
    """A hundred first names, last names and places. Raises ``MissingExtra`` without faker."""
    try:
        import faker
    except ImportError as error:
        raise MissingExtra(
            "the clickstream workload takes its names from faker, which is not installed; "
            "pip install 'streamproof[harness]'"
        ) from error
    source = faker.Faker("en_US")
    source.seed_instance(seed)
    return Names(
        tuple(source.first_name() for _ in range(_HOW_MANY)),
        tuple(source.last_name() for _ in range(_HOW_MANY)),
        tuple(source.city() for _ in range(_HOW_MANY)),
        (("faker", faker.VERSION),),
    )
