"""The crowd: locust starts it (`python -m loadtests` starts locust), users act, and everything goes into the history.

By hand: `locust -f loadtests/locustfile.py --headless --users 50 --run-time 30s --host http://127.0.0.1:8080 \
--event demo-hall --history history.jsonl`
"""

import os
import traceback
from argparse import ArgumentParser
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import gevent
import msgspec
from gevent import GreenletExit
from locust import LoadTestShape, User, between, events, task
from locust.env import Environment
from locust.exception import StopUser

from lml_live import errors
from lml_live.client import Effect, HoldResult, HoldUpdated, Refusal, Synced
from lml_live.gateway import wire
from loadtests import accounts, buying, rest
from loadtests.accounts import STRIPE_KEY, STRIPE_URL, Stripe, StripeLedger
from loadtests.arrivals import arrived
from loadtests.bounds import (
    JOIN_SECONDS_MAX,
    MONEY_SECONDS_MAX,
    REST_SECONDS_MAX,
    RUN_SECONDS_DEFAULT,
    RUN_SECONDS_MAX,
    RUN_SECONDS_MIN,
    USERS_DEFAULT,
    USERS_MAX,
    require_loopback,
)
from loadtests.gevent_client import GeventClient
from loadtests.history import Act, Booked, Crash, Ledger, Recorder, Seen, now_ms
from loadtests.picking import pick_seats, seats_in_company
from loadtests.verdict import RUN_OVER
from loadtests.viewers import Availability, settle

SEATS_WANTED: Final = (1, 2, 2, 2, 2, 2, 2, 3, 4)
"""Of the addresses that bought at the published sales, nine in ten bought two."""
CARDS_SHOWN: Final = (
    *[(buying.GOOD_CARD,)] * 6,
    (buying.AUTHENTICATED_CARD,),
    (buying.DECLINED_CARD, buying.GOOD_CARD),
    (buying.DECLINED_CARD, buying.AUTHENTICATED_CARD),
    (buying.DECLINED_CARD,),
)
"""What buyers show, one as likely as the other: most pay at once, one in ten gives up."""


class Made(NamedTuple):
    """A booking that the server has acknowledged, and the secret that reads it."""

    user: int
    access: str


class Run:
    """One run's history and viewers; there is one at a time."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        assert options is not None
        assert environment.host is not None
        self.url = require_loopback(environment.host)
        self.event: str = options.event
        self.buys: bool = not options.no_buying
        self.clients: dict[int, GeventClient] = {}
        self.bookings: dict[str, Made] = {}
        self._stripe = Stripe(os.environ[STRIPE_URL], os.environ[STRIPE_KEY]) if STRIPE_URL in os.environ else None
        self._file = Path(options.history).open("wb")  # noqa: SIM115 - closed by `end`, when locust says so
        self.recorder = Recorder(self._file)
        layout = rest.call(self.url, "GET", f"/events/{self.event}")["layout"]
        self.in_company = seats_in_company(rest.call(self.url, "GET", f"/layouts/{layout['id']}/{layout['hash']}"))

    def end(self) -> None:
        """Compares every viewer with the server and all bookings with the money, and closes the viewers."""

        def fetch() -> Availability:
            return msgspec.convert(rest.call(self.url, "GET", f"/events/{self.event}/availability"), Availability)

        try:
            for viewer in settle(self.clients, fetch, seconds=REST_SECONDS_MAX, sleep=gevent.sleep):
                self.recorder.write(viewer)
            for line in accounts.settle(
                self.bookings,
                self._read_booking,
                None if self._stripe is None else self._read_ledger,
                seconds=MONEY_SECONDS_MAX,
                sleep=gevent.sleep,
            ):
                self.recorder.write(line)
        except errors.Unavailable as error:
            self.recorder.write(Crash(text=f"the server does not say what is so: {error.message}"))
        for user, client in self.clients.items():
            try:
                client.close()
            except Exception as error:  # noqa: BLE001 - a defect of one client must not hide the others'
                self.recorder.write(Crash(text=f"client {user}: {error!r}"))
        self._file.close()

    def _read_booking(self, booking: str) -> Booked:
        user, access = self.bookings[booking]
        found = buying.read_booking(self.url, booking, access)
        return Booked(
            user=user,
            booking=booking,
            hold=found.hold,
            state=found.state,
            seats=found.seats,
            amount=found.amount,
            currency=found.currency,
        )

    def _read_ledger(self) -> Ledger:
        assert self._stripe is not None
        raw = rest.fetch(self._stripe.url, "/_double/ledger", self._stripe.secret_key)
        return msgspec.json.decode(raw, type=StripeLedger).shown()


RUNS: Final[dict[Environment, Run]] = {}


@events.init_command_line_parser.add_listener
def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--event", default="demo-hall", help="The event that is sold")
    parser.add_argument("--history", default="history.jsonl", help="Where the history is written")
    parser.add_argument("--no-buying", action="store_true", help="Hold only")


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    RUNS[environment] = Run(environment)


@events.test_stop.add_listener
def _end(environment: Environment, **_: Any) -> None:
    RUNS.pop(environment).end()


@events.user_error.add_listener
def _crash(user_instance: User, exception: BaseException, tb: Any, **_: Any) -> None:
    if (run := RUNS.get(user_instance.environment)) is not None:
        place = traceback.extract_tb(tb)[-1]
        run.recorder.write(Crash(text=f"{exception!r} in {place.name}, line {place.lineno}"))


class OnSale(LoadTestShape):
    """Arrivals as at the published sales (`arrivals`), within the bounds whatever the page asks for."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """How many users there are to be in a second from now."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        users = min(options.num_users or USERS_DEFAULT, USERS_MAX)
        seconds = max(RUN_SECONDS_MIN, min(options.run_time or RUN_SECONDS_DEFAULT, RUN_SECONDS_MAX))
        now = self.get_run_time()
        if now >= seconds:
            return None
        here = arrived(now, users, seconds)
        return here, max(1.0, float(here - self.get_current_user_count()))


class Fan(User):
    """Joins, looks, takes seats that look free, keeps them, buys them or gives them back, loses the line, leaves and
    comes back.

    Each task is one thing to do, and goes through `_act`.
    """

    wait_time = between(0.3, 2.5)
    _numbers = 0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        Fan._numbers += 1
        self.number = Fan._numbers
        self.random = Random(self.number)  # noqa: S311 - a crowd that can be repeated, not a secret
        self.sale = RUNS[environment]
        self.live: GeventClient | None = None
        self._syncs = 0

    def on_start(self) -> None:
        self._join(None)

    # --- What a fan does ----------------------------------------------------------------------------------------------

    @task(8)
    def take_seats(self) -> None:
        """Hold neighbouring seats that look free, as many as the rules leave."""
        live = self._client()
        picture = live.picture
        rules = picture.limits
        mine = sum(len(hold.seats) for hold in picture.holds.values())
        wanted = self.random.choice(SEATS_WANTED)
        if rules is None or mine + wanted > rules.max_seats:
            self.let_go()
            return
        seats = pick_seats(picture.seats, wanted, self.random.random(), self.sale.in_company)
        if seats:
            self._act("hold", lambda: live.hold(seats), seats=tuple(seats))

    @task(3)
    def let_go(self) -> None:
        """Give one hold back."""
        live = self._client()
        if active := self._active():
            hold = self.random.choice(active).id
            self._act("release", lambda: live.release(hold), hold=hold)

    @task(2)
    def think_longer(self) -> None:
        """Put one hold's deadline off."""
        live = self._client()
        patient = [hold.id for hold in self._active() if hold.extensions_left > 0]
        if patient:
            hold = self.random.choice(patient)
            self._act("extend", lambda: live.extend(hold), hold=hold)

    @task(1)
    def buy(self) -> None:
        """Buy what one hold has.

        The limit of seats counts what was bought: who has used it up leaves, and somebody else comes instead.
        """
        live = self._client()
        active = self._active()
        if not active or not self.sale.buys or live.token is None:
            return
        hold, token, cards = self.random.choice(active).id, live.token, self.random.choice(CARDS_SHOWN)

        def made(booking: buying.Booking) -> None:
            self.sale.bookings[booking.id] = Made(self.number, booking.access)

        def pay() -> Refusal | None:
            name = f"fan-{self.number}"
            ended = buying.buy(self.sale.url, token, hold, name, cards, made=made, sleep=gevent.sleep)
            return ended if isinstance(ended, Refusal) else None

        self._act("buy", pay, hold=hold)
        rules = live.picture.limits
        bought = sum(len(mine.seats) for mine in live.picture.holds.values() if mine.state != "active")
        if rules is not None and bought + max(SEATS_WANTED) > rules.max_seats:
            self._leave()
            self._join(None)

    @task(1)
    def lose_the_line(self) -> None:
        """As under a bridge: the client comes back by itself, to where it was, and its user waits for that."""
        live = self._client()

        def come_back() -> None:
            # Not that it is gone first: when this user gets its turn, the client may long be back.
            before = self._syncs
            live.drop()
            live.wait_for(lambda client: client.connected and self._syncs > before, JOIN_SECONDS_MAX)

        self._act("resume", come_back)

    @task(1)
    def leave_and_come_back(self) -> None:
        """Close the page, and open it again later as the same holder."""
        token = self._client().token
        self._leave()
        gevent.sleep(self.random.uniform(0.2, 2.0))
        self._join(token)

    # --- How it is recorded -------------------------------------------------------------------------------------------

    def _client(self) -> GeventClient:
        assert self.live is not None
        return self.live

    def _active(self) -> list[wire.Hold]:
        """Own holds that are neither being paid for nor sold."""
        holds = self._client().picture.holds.values()
        return sorted((hold for hold in holds if hold.state == "active"), key=lambda hold: hold.id)

    def _leave(self) -> None:
        live = self._client()
        self.sale.clients.pop(self.number, None)
        self.live = None
        live.close()

    def _join(self, token: str | None) -> None:
        live = GeventClient(self.sale.url, self.sale.event, token=token, listener=self._listen)
        self.live = live
        if self._act("join", live.open):
            self.sale.clients[self.number] = live
        else:
            raise StopUser

    def _act(self, verb: str, ask: Any, *, seats: tuple[int, ...] = (), hold: str | None = None) -> bool:
        """Does one thing, and writes down when it was begun, how it ended, and how long it took."""
        recorder = self.sale.recorder
        number = recorder.next_act()
        begun_ms = now_ms()
        recorder.write(
            Act(at_ms=begun_ms, user=self.number, act=number, verb=verb, phase="invoke", seats=seats, hold=hold)
        )

        def end(phase: Any, *, code: str | None = None, held: HoldResult | None = None) -> bool:
            at_ms = now_ms()
            value = held.hold if held is not None else None
            recorder.write(
                Act(
                    at_ms=at_ms,
                    user=self.number,
                    act=number,
                    verb=verb,
                    phase=phase,
                    seats=tuple(int(seat) for seat in value.seats) if value is not None else (),
                    hold=value.id if value is not None else hold,
                    code=code,
                    took_ms=at_ms - begun_ms,
                )
            )
            # A refusal is an answer; for the page only what was not answered is a failure.
            self.environment.events.request.fire(
                request_type="live",
                name=verb,
                response_time=at_ms - begun_ms,
                response_length=0,
                exception=RuntimeError(code) if phase == "info" else None,
                context={},
            )
            return bool(phase == "ok")

        try:
            result = ask()
        except (TimeoutError, errors.Unavailable) as error:
            return end("info", code=f"{type(error).__name__}: {error}")
        except GreenletExit:
            end("info", code=RUN_OVER)
            raise
        if isinstance(result, Refusal):
            # The client says `unavailable` where it gave up: the outcome is unknown, never a refusal.
            return end("info" if result.code == "unavailable" else "fail", code=result.code)
        return end("ok", held=result if isinstance(result, HoldResult) else None)

    def _listen(self, news: Effect) -> None:
        live = self.live
        if live is None:
            return
        picture = live.picture
        if isinstance(news, HoldUpdated):
            self._seen(news.hold_id, news.hold, news.epoch, news.seq, news.reason)
        elif isinstance(news, Synced):
            self._syncs += 1
            # Holds that came through unchanged are no news; in the new epoch's history they begin here.
            for hold in picture.holds.values() if news.new_epoch else ():
                self._seen(hold.id, hold, news.epoch, news.seq, "sync")

    def _seen(self, hold_id: str, hold: wire.Hold | None, epoch: str, seq: int, reason: str) -> None:
        self.sale.recorder.write(
            Seen(
                at_ms=now_ms(),
                user=self.number,
                holder=self._client().picture.holder or "",
                epoch=epoch,
                seq=seq,
                hold=hold_id,
                seats=None if hold is None else tuple(int(seat) for seat in hold.seats),
                deadline_ms=0 if hold is None else hold.deadline_ms,
                reason=reason,
            )
        )
