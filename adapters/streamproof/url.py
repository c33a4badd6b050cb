"""Addresses of backends, ``scheme://[user:password@]host:port,…/path?option=value``."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from streamproof.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed backend URL. ``hosts`` are ``host:port`` or ``host``; ``path`` has no leading slash."""

    scheme: str
    hosts: tuple[str, ...]
    path: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def redacted(self) -> str:
        """The URL without password and options: fit for logs, errors and histories."""
        user = f"{self.username}@" if self.username else ""
        path = f"/{self.path}" if self.path else ""
        return f"{self.scheme}://{user}{','.join(self.hosts)}{path}"


def parse_address(url: str) -> Address:
    """Take a URL apart; :class:`ConfigurationError` says what is wrong with it."""
    if not isinstance(url, str) or "://" not in url:
        shown = repr(url) if "@" not in str(url) else "this"  # it may hold a password
        raise ConfigurationError(
            f"{shown} is not a backend URL: write e.g. memory://name, kafka://127.0.0.1:9092 or amqp://127.0.0.1/"
        )
    scheme, rest = url.split("://", 1)
    # Several hosts are no standard URL: take the authority apart here, leave the rest to urllib.
    authority, slash, tail = _split_authority(rest)
    userinfo, at, hostlist = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    _refuse_cut_password(bool(at), tail)
    _require_ports(hostlist)
    parts = urlsplit("//" + slash + tail if slash == "/" else "//" + "/" + tail)
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in options:
            raise ConfigurationError(f"option {name!r} stands twice in the URL: keep one")
        options[name] = value
    return Address(
        scheme=scheme.lower(),
        hosts=tuple(host.strip() for host in hostlist.split(",") if host.strip()),
        path=parts.path.lstrip("/"),
        username=unquote(username) or None,
        password=unquote(password) or None,
        options=options,
    )


def _split_authority(rest: str) -> tuple[str, str, str]:
    for index, character in enumerate(rest):
        if character in "/?":
            tail = rest[index + 1 :] if character == "/" else rest[index:]
            return rest[:index], character if character == "/" else "", tail
    return rest, "", ""


def _refuse_cut_password(has_user: bool, tail: str) -> None:
    """A ``/`` or ``?`` inside a password ends the authority early, and what follows would be shown."""
    place, _, query = tail.partition("?")
    if not has_user and ("@" in place or "@" in query.partition("=")[0]):
        raise ConfigurationError(
            "an @ stands behind the host: write / ? @ : in a user's name or password as %2F %3F %40 %3A"
        )


def _require_ports(hostlist: str) -> None:
    for host in hostlist.split(","):
        name, colon, port = host.strip().rpartition(":")
        is_bare_v6 = host.strip().endswith("]")
        if colon and not is_bare_v6 and not (name and port.isdecimal() and int(port) < 65536):
            # Not shown: it may be the part of a password before an unescaped character.
            raise ConfigurationError("a host's port is no number from 0 to 65535: write host:port,host:port")


def parse_flag(name: str, value: str) -> bool:
    """A yes-or-no option."""
    if value.lower() in ("1", "true", "on", "yes"):
        return True
    if value.lower() in ("0", "false", "off", "no"):
        return False
    raise ConfigurationError(f"{name}={value!r} is neither on nor off: write on or off")
