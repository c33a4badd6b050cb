"""How a broker can be had here, and what is said when it cannot."""

from dataclasses import dataclass
from typing import Literal

from streamproof.errors import StreamproofError

Kind = Literal["kafka", "rabbitmq"]
KINDS: tuple[Kind, ...] = ("kafka", "rabbitmq")

URL_VARIABLES: dict[Kind, str] = {
    "kafka": "STREAMPROOF_KAFKA_URL",
    "rabbitmq": "STREAMPROOF_RABBITMQ_URL",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A broker that runs already, at the URL of an environment variable. It is never harmed."""

    kind: Kind
    url: str

    def __str__(self) -> str:
        return f"given by {URL_VARIABLES[self.kind]}"


@dataclass(frozen=True, slots=True)
class Local:
    """A process on this machine can be started; ``program`` is the version or path of what runs."""

    kind: Kind
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
    """There is no way to have this broker here: why, and what would help."""

    kind: Kind
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"no {self.kind}: {self.reason}; {self.remedy}"


Availability = Given | Local | Container | Absent


class ServerError(StreamproofError):
    """A broker could not be started, or did not do what was asked within the bound."""


class ServerAbsent(ServerError):
    """There is no broker of that kind here. ``absent`` says why and what would help."""

    def __init__(self, absent: Absent) -> None:
        super().__init__(str(absent))
        self.absent = absent
