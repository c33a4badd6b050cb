"""The page views of a run by number.

There is a fixed number of seats, one for each session that is open at a time, and they send in
turn: view ``n`` is that of seat ``n % seats``. Sixteen views of one seat form a window, which one
draw cuts into sessions of different users; so any view can be made from its number alone.
"""

from collections.abc import Iterator

import msgspec

from streamproof_harness.workloads.draws import CHANCE_MASK, Draws, chance
from streamproof_harness.workloads.site import Site, View
from streamproof_harness.workloads.view_tally import ViewTally

_VIEWS_IN_WINDOW = 16
_LONGEST_LATE_S = 90


class Views:
    """A ``Source``: the views of a run. Memory: proportional to seats, users and pages."""

    def __init__(
        self,
        id_prefix: str,
        seed: int,
        site: Site,
        *,
        count: int,
        seats: int,
        late: float,
        rate: int,
        pace: int,
        epoch_ms: int,
    ) -> None:
        """``late``: the share of views whose event time lies up to 90 s before that of their turn."""
        self.id_prefix = id_prefix
        self.count = count
        self.site = site
        self.decode = msgspec.json.Decoder(View).decode
        self._seats = seats
        self._late_limit = chance(late)
        self._rate, self._pace, self._epoch_ms = rate, pace, epoch_ms
        self._turns = Draws(seed, "views")
        self._windows = Draws(seed, "sessions")

    def drawn(self) -> Iterator[tuple[int, int, View]]:
        """Number, user and content of each view, in order."""
        seats, user_of, page_of = self._seats, self.site.users.rank, self.site.pages.rank
        starts, began, users, pages = [0] * seats, [0] * seats, [0] * seats, [0] * seats
        draws = self._turns.run(0, 2 * self.count)
        for number, (one, other) in enumerate(zip(draws, draws, strict=True)):
            visit, seat = divmod(number, seats)
            place = visit % _VIEWS_IN_WINDOW
            if place == 0:
                starts[seat] = self._starts(visit // _VIEWS_IN_WINDOW, seat)
            before = pages[seat]
            pages[seat] = page_of(other)
            if starts[seat] >> place & 1:
                began[seat], users[seat], before = number, user_of(one), -1
            user = users[seat]
            yield number, user, self._view(number, user, began[seat], pages[seat], before, one, other)

    def items(self) -> Iterator[tuple[int, View]]:
        """Number and content of each view."""
        return ((number, view) for number, _, view in self.drawn())

    def item(self, number: int) -> View | None:
        """One view, ``None`` if it is beyond the end."""
        if number >= self.count:
            return None
        visit, seat = divmod(number, self._seats)
        window, place = divmod(visit, _VIEWS_IN_WINDOW)
        upto = self._starts(window, seat) & ((2 << place) - 1)
        back = place - (upto.bit_length() - 1)
        began = number - back * self._seats
        one, other = self._turns.at(2 * number), self._turns.at(2 * number + 1)
        user = self.site.users.rank(self._turns.at(2 * began))
        page = self.site.pages.rank(other)
        before = self.site.pages.rank(self._turns.at(2 * (number - self._seats) + 1)) if back else -1
        return self._view(number, user, began, page, before, one, other)

    def key(self, item: View) -> bytes:
        """The user."""
        return item.user.encode()

    def tally(self) -> ViewTally:
        """An empty tally."""
        return ViewTally(self._epoch_ms)

    def _starts(self, window: int, seat: int) -> int:
        """Which of the sixteen views of a window begin a session: the first, and each other by 1/8."""
        draw = self._windows.at(window * self._seats + seat)
        return (draw & (draw >> 16) & (draw >> 32) & 0xFFFF) | 1

    def _view(self, number: int, user: int, began: int, page: int, before: int, one: int, other: int) -> View:
        site, after_ms = self.site, number * 1000 * self._pace // self._rate
        if other & CHANCE_MASK < self._late_limit:
            after_ms = max(0, after_ms - 1000 * (1 + (one & CHANCE_MASK) % _LONGEST_LATE_S))
        return View(
            site.user_ids[user],
            site.user_names[user],
            site.user_cities[user],
            f"s{began}",
            site.paths[page],
            None if before < 0 else site.paths[before],
            self._epoch_ms + after_ms,
        )
