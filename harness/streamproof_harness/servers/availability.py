"""How a broker or a database can be had here, and what is said when it cannot."""

from dataclasses import dataclass
from typing import Literal

from streamproof.errors import StreamproofError

Kind = Literal["kafka", "rabbitmq"]
KINDS: tuple[Kind, ...] = ("kafka", "rabbitmq")

Database = Literal["postgresql", "redis"]
DATABASES: tuple[Database, ...] = ("postgresql", "redis")

URL_VARIABLES: dict[Kind | Database, str] = {
    "kafka": "STREAMPROOF_KAFKA_URL",
    "rabbitmq": "STREAMPROOF_RABBITMQ_URL",
    "postgresql": "STREAMPROOF_POSTGRESQL_URL",
    "redis": "STREAMPROOF_REDIS_URL",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A server that runs already, at the URL of an environment variable. It is never harmed."""

    kind: Kind | Database
    url: str

    def __str__(self) -> str:
        return f"given by {URL_VARIABLES[self.kind]}"


@dataclass(frozen=True, slots=True)
class Local:
    """A process on this machine can be started; ``program`` is the version or path of what runs."""

    kind: Kind | Database
    program: str

    def __str__(self) -> str:
        return f"as a local process: {self.program}"


@dataclass(frozen=True, slots=True)
class Container:
    """A container engine answers, and runs ``image``."""

    kind: Kind
    image: str

    def __str__(self) -> str:
        return f"in a container: {self.image}"


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no way to have this server here: why, and what would help."""

    kind: Kind | Database
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"no {self.kind}: {self.reason}; {self.remedy}"


Availability = Given | Local | Container | Absent


class ServerError(StreamproofError):
    """A server could not be started, or did not do what was asked within the bound."""


class ServerAbsent(ServerError):
    """There is no server of that kind here. ``absent`` says why and what would help."""

    def __init__(self, absent: Absent) -> None:
        super().__init__(str(absent))
        self.absent = absent
