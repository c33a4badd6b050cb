"""A made-up web site: its pages, and its users with their names and places."""

import msgspec

from streamproof_harness.workloads.draws import Draws, below
from streamproof_harness.workloads.names import Names
from streamproof_harness.workloads.zipf import Zipf


class View(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One page view. ``referrer``: the page before in the session; ``time_ms``: event time."""

    user: str
    name: str
    city: str
    session: str
    page: str
    referrer: str | None
    time_ms: int


class Site:
    """Users and pages, each by popularity: number 0 is the most popular. Keeps no position."""

    def __init__(self, seed: int, names: Names, users: Zipf, pages: Zipf) -> None:
        self.users, self.pages = users, pages
        width = len(str(len(users) - 1))
        self.user_ids = [f"u{user:0{width}}" for user in range(len(users))]
        self.user_keys = [user.encode() for user in self.user_ids]
        self.user_names: list[str] = []
        self.user_cities: list[str] = []
        for draw in Draws(seed, "users").run(0, len(users)):
            first, last = names.first[draw % len(names.first)], names.last[below(len(names.last), draw)]
            self.user_names.append(f"{first} {last}")
            self.user_cities.append(names.places[(draw >> 24 & 0xFFFF) % len(names.places)])
        self.paths = ["/", *(f"/products/{page}" for page in range(1, len(pages)))]
