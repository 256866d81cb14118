"""Every documented call, made as its description allows and as it forbids, with what exists filled in; and judged.

The calls are schemathesis' and so are the checks. What it cannot know is which holds, bookings and tickets there are:
most calls name some that are, so that they come past "there is no such thing".
"""

import asyncio
import itertools
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import hypothesis
import requests
import schemathesis
from hypothesis import strategies
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks
from serving import ADMIN, LiveServer

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.guard.staff import StaffDesk

RIGHT: Final = {"anyone": "nobody", "holder": "buyer", "clerk": "clerk", "manager": "admin", "admin": "admin"}
"""Who may make a call, by its tag."""
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
PASSWORD: Final = "a horse of another colour"
ANOTHER_WAY: Final = frozenset({"live"})
"""Asked by tests/gateway/test_socket_bad_input.py: a handshake is no call."""
ALWAYS: Final = frozenset({"seats", "reason", "add"})
NAMES: Final = frozenset({"event", "hold", "into", "ticket", "holder", "channel", "email"})
"""What a field names that is there, while the others of its body are at an edge."""
BUYER: Final = {"name": "Ada", "email": "ada@example.org"}
SECTION: Final = {
    "name": "Stalls",
    "kind": "seated",
    "rows": [{"label": "A", "seats": [{"number": "1", "x": 0.5, "y": 0.5, "category": "Front"}]}],
}
PRICES: Final = [{"category": name, "amount": 2_000, "fee": 100} for name in ("Front", "Rear", "Standing")]


class House:
    """A server that sells, and what there is in it: an organisation, an event, holds, bookings, tickets."""

    def __init__(self, server: LiveServer, double: StripeDouble) -> None:
        self.server, self.double = server, double
        self.session = requests.Session()
        self.tokens: dict[str, str | None] = {"nobody": None}
        self.event = ""
        self.known: dict[str, Callable[[], Any]] = {}
        """What a parameter of this name can be, if it is to exist."""
        self.fields: dict[str, Callable[[], Any]] = {}
        """The same of a body's fields."""
        self._seats: Iterator[str] = iter(())
        self._access: dict[str, str] = {}
        self.kept = ""

    def call(self, method: str, path: str, body: Any = None, *, who: str = "buyer", match: str = "") -> Any:
        """A call that has to go well."""
        answer = self._ask(method, path, body, who, match)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None

    def _ask(self, method: str, path: str, body: Any, who: str, match: str = "") -> requests.Response:
        headers = self.headers(who) | ({"If-Match": f'"{match}"'} if match else {})
        return self.session.request(method, f"{self.server.url}/api/v1{path}", json=body, headers=headers)

    def renew_buyer(self) -> None:
        """Another buyer: one alone would soon be told to slow down."""
        self.tokens["buyer"] = self.call("POST", "/holders", who="nobody")["token"]

    def headers(self, who: str, booking: str = "") -> dict[str, str]:
        """Whose call it is, the buyer's with what the booking's link has; and a key that no other has."""
        token = self._access.get(booking, self.tokens[who]) if who == "buyer" else self.tokens[who]
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        return {"Idempotency-Key": secrets.token_hex(8), **bearer}

    def furnish(self) -> None:
        """Everything that calls can name."""
        name = f"calls-{secrets.token_hex(4)}"
        _apart(self._add_clerk, f"{name}@example.org")
        _apart(self.double.steering.change_settings, webhook_url=f"{self.server.url}/api/v1/webhooks/stripe")
        self._staff = {"admin": ADMIN, "clerk": (f"{name}@example.org", PASSWORD)}
        self.sign_in()
        self.renew_buyer()
        customer = self.call("POST", "/holders", who="clerk")
        self.call("POST", "/organisations", {"id": name, "name": "Opera", "currency": "EUR"}, who="admin")
        self.call("POST", f"/organisations/{name}/venues", {"id": name, "name": "House"}, who="admin")
        plan = {"layout_id": name, "name": "Hall", "type": "seated", "viewport": {"width": 1, "height": 1}}
        layout_hash = self.call("POST", "/layouts", plan | {"sections": [SECTION]}, who="admin")["hash"]
        self.call("POST", f"/layouts/{name}/publish", who="admin", match=layout_hash)
        self.call("POST", f"/layouts/{name}/deploy", {}, who="admin")
        self.new_event()
        made = [self.call("POST", "/bookings", {"hold": self.hold(), "buyer": BUYER}) for _ in range(9)]
        paid = {booking["id"]: self._pay(booking) for booking in made[:8]}
        self.disputed = made[6]["id"]
        self._wait(f"/bookings/{self.disputed}", lambda shown: shown["state"] == "confirmed")
        dispute = _apart(self.double.steering.open_dispute, paid[self.disputed])
        # One that is printed anew, and nothing of it is given back or used.
        self.kept = made[7]["id"]
        self._access = {booking["id"]: booking["access"] for booking in made if booking["id"] != self.disputed}
        bookings = itertools.cycle([name for name in self._access if name != self.kept])
        ticket = self._ticket(made[0]["id"])
        self._wait("/disputes", lambda shown: shown["items"], who="admin")
        soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
        self.known = {
            "event": lambda: self.event,
            "group": lambda: self.event,
            "hold": self.hold,
            "ids": self.seat,
            "booking": lambda: next(bookings),
            "channel": lambda: "web",
            "organisation": lambda: name,
            "venue": lambda: name,
            "layout": lambda: name,
            "dispute": lambda: dispute,
            "state": lambda: "open",
            "hash": lambda: layout_hash,
            "limit": lambda: 2,
        }
        self.fields = {
            "event": lambda: self.event,
            "events": lambda: [self.event],
            "hold": self.hold,
            "holds": lambda: [self.hold()],
            "into": self.hold,
            "replace": lambda: None,
            "release": dict,
            "add": lambda: {"seats": [self.seat()]},
            "expected_amount": lambda: None,
            "seats": lambda: [self.seat()],
            "runs": lambda: [[self.seat()] * 2],
            "areas": lambda: {"floor": 1},
            "ticket": lambda: ticket,
            "lines": lambda: [1],
            "amount": lambda: 100,
            "holder": lambda: customer["holder"],
            "channel": lambda: "web",
            "name": lambda: name,
            "text": lambda: json.dumps(plan | {"sections": [SECTION]}),
            "format": lambda: "auto",
            "mapping": lambda: None,
            "standing": list,
            "reason": lambda: "Why not?",
            "layout": lambda: {"id": "test-hall"},
            "layout_id": lambda: name,
            "type": lambda: "seated",
            "viewport": lambda: {"width": 1, "height": 1},
            "sections": lambda: [SECTION],
            "shapes": list,
            "limits": dict,
            "prices": lambda: PRICES,
            "category": lambda: "Front",
            "section": lambda: "Stalls",
            "quantity": lambda: 1,
            "accessible": lambda: 0,
            "companions": lambda: 0,
            "starts_at": lambda: soon,
            "currency": lambda: "EUR",
            "country": lambda: "AT",
            "email": lambda: f"{name}@example.org",
            "password": lambda: PASSWORD,
            "buyer": lambda: BUYER,
        }

    def sign_in(self) -> None:
        """The staff, anew: one of the calls signs them out."""
        for who, (email, password) in self._staff.items():
            signed_in = self.call("POST", "/sessions", {"email": email, "password": password}, who="nobody")
            self.tokens[who] = signed_in["token"]

    async def _add_clerk(self, email: str) -> None:
        async with self.server.pool() as pool:
            await StaffDesk(pool).add_staff(email, PASSWORD, ("box_office",))

    def new_event(self) -> None:
        """An open event whose seats nobody has named."""
        self.event = _apart(self.server.new_event, max_seats=50, lifetime_seconds=3600, orphan_rule="off")
        rows = self.call("GET", f"/events/{self.event}/layout")["sections"][0]["rows"]
        self._seats = iter([seat["seat_id"] for row in rows for seat in row["seats"]])

    def _pay(self, booking: Mapping[str, Any]) -> str:
        """Answers its intent."""
        address = f"/bookings/{booking['id']}"
        payment = self._wait(address, lambda shown: shown["payment"]["status"] == "ready")["payment"]
        form = {"key": payment["publishable_key"], "client_secret": payment["client_secret"]}
        intent = payment["client_secret"].partition("_secret_")[0]
        url = f"{payment['api_base']}/v1/payment_intents/{intent}/confirm"
        assert self.session.post(url, data=form | {"payment_method": "pm_card_visa"}).status_code == 200
        return str(intent)

    def _ticket(self, booking: str) -> str:
        return str(self._wait(f"/bookings/{booking}/tickets", lambda shown: shown["items"])["items"][0]["ticket"])

    def _wait(self, path: str, is_there: Callable[[Any], Any], *, who: str = "buyer") -> Any:
        deadline = time.monotonic() + 60
        while not is_there(shown := self.call("GET", path, who=who)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)  # Between two looks: the walk is not async, and what it waits for is another process's.
        return shown

    def seat(self) -> str:
        """A seat that nobody has named yet; where there is none, of another event from now on."""
        seat = next(self._seats, None)
        if seat is None:
            self.new_event()
            seat = next(self._seats)
        return seat

    def hold(self) -> str:
        """A hold of the buyer's, just made; of another event from now on where a call changed this one."""
        made = self._ask("POST", f"/events/{self.event}/holds", {"seats": [self.seat()]}, "buyer")
        if made.status_code == 201:
            return str(made.json()["id"])
        self.new_event()
        return str(self.call("POST", f"/events/{self.event}/holds", {"seats": [self.seat()]})["id"])


class Calls:
    """Calls of everybody to some operations, and what was wrong with the answers."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.answers: Counter[tuple[str, int]] = Counter()
        """How often each operation answered with each status."""
        self.wrong: list[str] = []
        self.schema = schemathesis.openapi.from_url(f"{house.server.url}/openapi.json")

    def names(self, tag: str) -> list[str]:
        """The operations that are for them."""
        return [name for name, operation in self._operations.items() if operation.tags == [tag]]

    @cached_property
    def _operations(self) -> dict[str, Any]:
        found = [result.ok() for result in self.schema.get_all_operations()]
        by_name = {one.definition.raw["operationId"]: one for one in found}
        return {name: one for name, one in by_name.items() if name not in ANOTHER_WAY}

    def make(self, name: str, examples: Mapping[GenerationMode, int], seed: int | None = None) -> None:
        """Calls an operation so often in each way, in turn as each caller; without a seed it is the same each time."""
        for mode, count in examples.items():
            self.house.renew_buyer()
            self._make(name, self._operations[name], mode, count, seed)
        if name == "sign_out":
            self.house.sign_in()

    def cover(self, name: str) -> None:
        """Calls an operation with every value at the edge of what its description allows, and beyond."""
        operation = self._operations[name]
        config = self.schema.config.generation_for(operation=operation)
        for mode in GenerationMode:
            cases = self.schema.iter_coverage_cases(operation, generation_modes=[mode], generation_config=config)
            for number, case in enumerate(cases, start=1):
                if number % 10 == 1:
                    self.house.renew_buyer()
                case.path_parameters = self._true_path(case)
                if isinstance(case.body, dict):
                    named = {key for key in NAMES & case.body.keys() if isinstance(case.body[key], str)}
                    case.body = case.body | {key: self.house.fields[key]() for key in named}
                right = RIGHT[operation.tags[0]]
                headers = self.house.headers(right, case.path_parameters.get("booking", ""))
                if number % 2:
                    del headers["Idempotency-Key"]
                self._send(name, right, case, headers)

    def _make(self, name: str, operation: Any, mode: GenerationMode, count: int, seed: int | None) -> None:
        number = itertools.count()

        @hypothesis.settings(
            max_examples=count,
            derandomize=seed is None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        # What has no parameters would be called once only, but for the number.
        @hypothesis.given(operation.as_strategy(generation_mode=mode), strategies.integers())
        def call(case: Case, _: int) -> None:
            self._call(name, case, mode, next(number))

        try:
            (call if seed is None else hypothesis.seed(seed)(call))()
        except hypothesis.errors.Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, name  # nothing is asked for that could be wrong

    def _call(self, name: str, case: Case, mode: GenerationMode, number: int) -> None:
        """The first good case is everybody's, the right one's last; of the others every second is left as it came."""
        right, *others = sorted(set(RIGHT.values()), key=RIGHT[case.operation.tags[0]].__ne__)
        made = dict(case.path_parameters), dict(case.query), case.body
        turn = (others[number // 3 % 3],) if number % 3 == 2 else (right,)
        for who in (*others, right) if (number, mode) == (0, GenerationMode.POSITIVE) else turn:
            case.path_parameters, case.query, case.body = dict(made[0]), dict(made[1]), made[2]
            headers = self.house.headers(who)
            if number % 2 == 0:
                self._tell_truth(case, mode)
                headers |= self.house.headers(who, case.path_parameters.get("booking", ""))
            if mode is GenerationMode.NEGATIVE or number % 2:
                del headers["Idempotency-Key"]  # the one that was made up, or none
            self._send(name, who, case, headers)

    def _send(self, name: str, who: str, case: Case, headers: Mapping[str, str]) -> None:
        try:
            # As long as it takes: a machine may be busy, and what it does says nothing about the answer.
            answer = case.call(session=self.house.session, headers=dict(headers), allow_redirects=False, timeout=60)
        except requests.RequestException as error:
            self.wrong.append(f"{who}: {name}: {error}")
            return
        self.answers[name, answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as failed:
            self.wrong.append(f"{who}: {name}: {failed}")

    def _true_path(self, case: Case) -> dict[str, Any]:
        known = self.house.known
        if {"venue", "event"} <= set(case.path_parameters):
            self.house.new_event()  # of which nothing is sold, so that it may get another venue
        true = {name: known[name]() if name in known else value for name, value in case.path_parameters.items()}
        if "dispute" in true:
            return true | {"booking": self.house.disputed}
        is_reprint = case.operation.definition.raw["operationId"] == "reprint_tickets"
        return true | ({"booking": self.house.kept} if is_reprint else {})

    def _tell_truth(self, case: Case, mode: GenerationMode) -> None:
        known = self.house.known
        case.path_parameters = self._true_path(case)
        if mode is GenerationMode.POSITIVE:
            case.query = {one.name: known[one.name]() for one in case.operation.query if one.name in known}
            case.body = self._fill(case.body, self._properties(case.operation))

    def _properties(self, operation: Any) -> set[str]:
        body = operation.definition.raw.get("requestBody")
        if body is None:
            return set()
        shape = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        return set(self.schema.raw_schema["components"]["schemas"][shape]["properties"])

    def _fill(self, body: Any, properties: set[str]) -> Any:
        """With what exists; and with what has to be there, but is optional, since something else would do."""
        if isinstance(body, float) and body.is_integer():
            return int(body)
        if isinstance(body, list):
            return [self._fill(one, set()) for one in body]
        if not isinstance(body, dict):
            return body
        fields = self.house.fields
        filled = {name: fields[name]() if name in fields else self._fill(value, set()) for name, value in body.items()}
        return filled | {name: fields[name]() for name in properties & ALWAYS}


def _apart(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Runs in a thread of its own: pytest's loop is not to be disturbed."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work(*given, **named))).result()
