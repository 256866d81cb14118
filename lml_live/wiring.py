"""Puts the house together: the one place beside the commands that knows every class.

`run_worker` is one worker process from its first connection to its last goodbye. What is done once, before the workers,
is in `preparing`.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from lml_live import limits
from lml_live.backoffice.allotting import Allotting
from lml_live.backoffice.anchors import Anchoring, anchor_store
from lml_live.backoffice.blocking import Blocking, Refusals
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.extracts import Extracts
from lml_live.backoffice.history import History
from lml_live.backoffice.holding import Holding
from lml_live.backoffice.layout_change import Held, LayoutChange, what_is_held
from lml_live.backoffice.layout_record import KnownLayouts, LayoutRecord
from lml_live.backoffice.layout_steps import Step, Stepped, record_step
from lml_live.backoffice.publishing import Publishing
from lml_live.backoffice.retention import Retention
from lml_live.backoffice.scrubbing import Scrubbing
from lml_live.backoffice.selling import Selling
from lml_live.backoffice.trail import Trail
from lml_live.backoffice.turns import StaffTurns
from lml_live.booking.aftercare import Aftercare
from lml_live.booking.bank_payouts import BankPayouts
from lml_live.booking.bookings import Bookings
from lml_live.booking.checkout import Checkout
from lml_live.booking.completer import Completer
from lml_live.booking.customers import Customers
from lml_live.booking.disputes import Disputes
from lml_live.booking.evidence import Evidence
from lml_live.booking.handing import Handing
from lml_live.booking.letters import domain_of
from lml_live.booking.mailer import Mailbox, Mailer
from lml_live.booking.matching import Matching
from lml_live.booking.missed import MissedNotices
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.organisations import Organisations
from lml_live.booking.pace import Pace
from lml_live.booking.paying import Paying
from lml_live.booking.payment_queue import PaymentQueue
from lml_live.booking.payments import judge_amount, sells_nothing
from lml_live.booking.refunds import Refunds
from lml_live.booking.statements import Statements
from lml_live.booking.surplus import Surplus
from lml_live.booking.tickets import Tickets
from lml_live.booking.transfers import Transfers
from lml_live.clock import system_clock_ms
from lml_live.errors import LmlError, Unavailable
from lml_live.gateway.accounts import AccountServices
from lml_live.gateway.acts import Acts
from lml_live.gateway.app import Runner, Services, make_app
from lml_live.gateway.audit import AuditServices
from lml_live.gateway.bookings import BookingServices
from lml_live.gateway.callers import CLERKS
from lml_live.gateway.cards import CardServices
from lml_live.gateway.collector import Collector
from lml_live.gateway.connection import Doorman
from lml_live.gateway.counter import CounterServices
from lml_live.gateway.desk import Desks
from lml_live.gateway.direct import load_send_frame
from lml_live.gateway.disputes import DisputeServices
from lml_live.gateway.events import EventServices
from lml_live.gateway.groups import GroupActs
from lml_live.gateway.holders import HolderServices
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.layout_backups import BackupServices
from lml_live.gateway.layout_edge import EdgeServices
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.live import Live
from lml_live.gateway.operations import API
from lml_live.gateway.organisations import OrganisationServices
from lml_live.gateway.refunds import RefundServices
from lml_live.gateway.sales import Sales, SaleServices
from lml_live.gateway.self_checks import SelfChecks
from lml_live.gateway.session import Visitor
from lml_live.gateway.staff_requests import StaffRequests
from lml_live.gateway.tickets import TicketServices
from lml_live.gateway.tokens import HolderTokens
from lml_live.gateway.whence import AddressOf
from lml_live.guard.accounts import Accounts
from lml_live.guard.partners import Partners
from lml_live.guard.passwords import Passwords
from lml_live.guard.reach import Reach
from lml_live.guard.staff import StaffDesk
from lml_live.guard.throttle import AddressCaps
from lml_live.infra import mongo, postgres
from lml_live.infra.config import Settings
from lml_live.infra.redis import load_scripts
from lml_live.infra.redis_topology import open_topology
from lml_live.infra.smtp import Smtp
from lml_live.infra.telemetry import METRICS
from lml_live.inventory import seatmap
from lml_live.inventory.book import Book
from lml_live.inventory.channels import Channels
from lml_live.inventory.checker import Checker
from lml_live.inventory.feed import Feed
from lml_live.inventory.groups import GroupHolds
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Sale
from lml_live.inventory.returns import Returns
from lml_live.inventory.staff_holds import StaffHolds
from lml_live.inventory.upkeep import Upkeep
from lml_live.preparing import given
from lml_live.pricing.blocks import BlockKind, Blocks
from lml_live.pricing.catalogue import CHANNEL, Catalogue
from lml_live.pricing.channels import ChannelRows
from lml_live.values import STAFF_TOKEN_PREFIX
from lml_live.venues.backups import open_backups, policy_of
from lml_live.venues.copies import Copies
from lml_live.venues.edge import public_url
from lml_live.venues.library import Library
from lml_live.venues.links import Links
from lml_live.venues.own_edge import OwnEdge
from lml_live.venues.self_check import check_immutability, check_rules

if TYPE_CHECKING:
    from lml_live.booking.stripe_payments import StripePayments

log = logging.getLogger(__name__)

_SQL = postgres.statements("house")


async def run_worker(settings: Settings, sock: socket.socket, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serves on a listening socket until `stop`: then no new sockets, `bye` to the open ones, and everything closed."""
    async with _house(settings) as (services, live):
        runner = Runner(
            make_app(services),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=limits.KEEPALIVE_SECONDS,
            shutdown_timeout=limits.DRAIN_SECONDS,
        )
        await runner.setup()
        site = web.SockSite(runner, sock, backlog=limits.ACCEPT_BACKLOG)
        await site.start()
        # What is here now stays: without it the collector goes through all of it, 250 ms at a time.
        Collector().freeze()
        ready()
        try:
            await stop.wait()
        finally:
            await site.stop()
            await live.farewell()
            await runner.cleanup()


@asynccontextmanager
async def _house(settings: Settings) -> AsyncIterator[tuple[Services, Live]]:
    dsn, url = given(settings)
    if settings.redis_url is None:
        raise Unavailable("LML_REDIS_URL is not set.")
    async with AsyncExitStack() as stack:
        pool = await postgres.connect_pool(dsn, application_name="lml worker")
        stack.push_async_callback(pool.close)
        database = mongo.connect_database(url, settings.mongo_database)
        stack.callback(mongo.close_database, database)
        redis = open_topology(settings.redis_url, load_scripts())
        await redis.start()
        stack.push_async_callback(redis.close)
        secret = await _secret(settings, pool)

        backups = await stack.enter_async_context(open_backups(settings))
        library = Library(database, backups=backups, history=LayoutRecord(pool))
        layouts = DeployedLayouts(library, Copies(settings, backups), KnownLayouts(pool))
        catalogue = Catalogue(pool, layouts)
        publishing, links = Publishing(settings, library), Links(settings)
        stack.push_async_callback(publishing.close)

        async def seat_directory(sale: Sale) -> Mapping[str, int]:
            return (await layouts.index(sale.layout_id, sale.layout_version, sale.layout_hash)).index_of

        book = Book(redis, pool, seat_directory)
        stack.push_async_callback(book.close)
        book.adopted = lambda _event: METRICS.adopted.inc()
        holds = Holds(book, secret)
        feed = Feed(book, tick_ms=settings.tick_ms)
        feed.listen_to(book.wakes)

        def layout_url(layout: str, layout_hash: str) -> str:
            if settings.cdn_base_url and not links.is_private(layout):
                return public_url(settings.cdn_base_url, layout, layout_hash)
            return f"{API}/layouts/{layout}/{layout_hash}"

        desks = Desks(catalogue, layouts.index, layout_url, book.known)
        acts = Acts(desks, holds)
        groups = GroupActs(acts, GroupHolds(book, secret), catalogue.list_group)
        live = Live(feed, acts, groups, HolderTokens(secret), system_clock_ms, load_send_frame())

        async def block(
            event: str, layout: str, seats: Sequence[int], areas: Mapping[str, int], kind: BlockKind
        ) -> Refusals:
            state = seatmap.BYTE_HOUSE if kind == "house" else seatmap.BYTE_KILL
            answer = await holds.under({event: layout}).block_seats(event, seats, areas, state)
            return Refusals(answer.refused_seats, answer.refused_areas)

        async def unblock(event: str, layout: str, seats: Sequence[int]) -> Sequence[int]:
            return await holds.under({event: layout}).unblock_seats(event, seats)

        async def held(event: str, layout: str) -> Held:
            _, _, seats, areas, allotments = await book.under({event: layout}).read_inventory(event)
            return what_is_held(seats, areas, allotments)

        trail = Trail(pool)

        async def stepped(step: Step, version: Stepped) -> None:
            await record_step(trail, step, version)
            if step == "deployed":
                await publishing.look()

        async def postgres_answers() -> None:
            async with postgres.connection(pool) as connection:
                await connection.fetchval(_SQL["ping"])

        async def redis_answers() -> None:
            await asyncio.gather(*(pipe.call("PING") for pipe in redis.nodes()))

        passwords = Passwords()
        reach = Reach(pool)
        desk, keys, partners = StaffDesk(pool, passwords), IdempotencyKeys(pool), Partners(pool)
        turns = StaffTurns(pool)
        allotting = Allotting(catalogue, ChannelRows(pool), layouts, Channels(book), turns)
        blocking = Blocking(catalogue, Blocks(pool), layouts, block, unblock, turns)
        live.identify, live.sells, live.signed_out = _identify(desk, partners), partners.sells, desk.signed_out
        bookings = Bookings(pool)
        stack.push_async_callback(bookings.close)
        pace = Pace.of(pool, settings)
        payment_queue = PaymentQueue(pace, pay_seconds=settings.pay_seconds)
        payments = _payments(settings, pace)
        if payments is not None:
            stack.push_async_callback(payments.close)
        refunds = Refunds(pool)
        paying = onboarding = customers = None
        if payments is not None:
            from lml_live.booking.stripe_wallet import StripeWallet

            customers = Customers(pool, StripeWallet(payments))
            from lml_live.booking.stripe_connect import StripeConnect

            connect = StripeConnect(payments)
            onboarding = Onboarding(pool, connect)
            paying = Paying(bookings, Transfers(pool), onboarding, payments, connect)
        evidence = Evidence(pool, terms_url=settings.terms_url)
        aftercare = Aftercare(*(bookings, refunds, Disputes(pool), Returns(book), payments, paying), evidence=evidence)
        completer = Completer(
            *(bookings, holds, payments, aftercare, customers),
            poll_seconds=settings.poll_seconds,
            bank_seconds=settings.bank_seconds,
            lease_seconds=settings.lease_seconds,
        )
        checkout = Checkout(
            bookings,
            holds,
            completer,
            secret,
            pay_seconds=settings.pay_seconds,
            mark_seconds=settings.mark_seconds,
            admit=payment_queue.admit,
            judge_amount=sells_nothing if payments is None else judge_amount,
        )
        mailbox = Mailbox(pool) if settings.mailbox else None
        sender = settings.mail_from or f"LML Live <tickets@{socket.gethostname()}>"
        post = Smtp(settings.smtp_url, own_name=domain_of(sender)) if settings.smtp_url else mailbox
        accounts = Accounts(pool, passwords, secret, sends_mail=post is not None)
        live.members.ended = accounts.ended
        handing = Handing(pool, HandOvers(book))
        pages = settings.public_url or f"http://127.0.0.1:{settings.port}"
        if post is not None:
            mailer = Mailer(
                *(pool, post, checkout.access),
                sender=sender,
                public_url=pages,
                invitation=accounts.invitation,
                terms_url=settings.terms_url,
            )
            stack.push_async_callback(_end, _start(mailer.run(), "mails"))
        staff_holds = StaffHolds(book)
        holding = Holding(pool, staff_holds, turns)
        selling = Selling(pool, bookings, checkout, staff_holds, turns, mark_seconds=settings.mark_seconds)
        completer.undo_taking = selling.undo
        checkout.finish_hold = holding.finish
        holder_services = HolderServices(
            live,
            layouts,
            Doorman(settings.origins, AddressCaps(limits.SOCKETS_PER_ADDRESS_MAX, settings.caps_exempt)),
            AddressOf(settings.trusted_proxies, settings.caps_exempt, secret),
            desk,
            holding,
            partners,
            links,
        )
        booking_services = BookingServices(
            live,
            holder_services.buyer,
            desk,
            bookings,
            refunds,
            checkout,
            completer,
            keys,
            payments,
            payment_queue.place,
            settings.stripe_webhook_secret,
            live_mode=bool(settings.stripe_api_key and "_live_" in settings.stripe_api_key),
            running_seconds=settings.mark_seconds * limits.RUNNING_SHARE_OF_MARK,
            noticed=None if onboarding is None else onboarding.noticed,
        )
        sales, history = Sales(acts, selling, booking_services), History(pool, staff_holds)
        live.ask_staff = StaffRequests(
            *(blocking, allotting, holding, sales, history),
            *(acts, keys, live.identify, reach),
        ).ask
        layout_services = LayoutServices(desk, library, keys, stepped)
        services = Services(
            events=EventServices(
                desk,
                catalogue,
                blocking,
                allotting,
                keys,
                layout_url,
                live.refresh,
                LayoutChange(pool, catalogue, layouts, held, book.distrust),
            ),
            layouts=layout_services,
            backups=BackupServices(layout_services, backups),
            edge=EdgeServices(layout_services, publishing.edge, links),
            self_checks=SelfChecks(desk, partial(check_rules, database), partial(check_immutability, database)),
            holders=holder_services,
            counter=CounterServices(
                *(desk, acts, groups, holding, history, keys),
                *(holder_services.buyer, holder_services.address_of.mark),
            ),
            bookings=booking_services,
            sales=SaleServices(desk, acts, sales, booking_services),
            refunds=RefundServices(
                desk, refunds, completer, keys, settings.mark_seconds * limits.RUNNING_SHARE_OF_MARK
            ),
            tickets=TicketServices(desk, Tickets(pool), keys),
            organisations=OrganisationServices(
                *(desk, Organisations(pool), Statements(pool), keys, onboarding, f"{pages}/organisation"),
                surplus=Surplus(pool, bookings),
                payouts=BankPayouts(pool),
            ),
            disputes=DisputeServices(desk, evidence, completer),
            audit=AuditServices(desk, Extracts(pool)),
            accounts=AccountServices(live, accounts, handing, holder_services.address_of.capped),
            reach=reach,
            cards=CardServices(holder_services.buyer, customers),
            probes={
                "redis": redis_answers,
                "postgres": postgres_answers,
                "mongo": lambda: mongo.ping(database),
            },
            mailbox=mailbox,
            own_edge=None
            if settings.s3_bucket is not None
            else OwnEdge(library, holder_services.cache.find, frozenset(settings.private_layouts)),
        )
        upkeep = Upkeep(book, pool, dsn, sweep_ms=settings.sweep_ms, mark_seconds=settings.mark_seconds)
        upkeep.settle_mark = checkout.settle_mark
        if payments is not None:
            matching = Matching(
                pool,
                payments.read_transactions,
                match_seconds=settings.match_seconds,
                settle_seconds=settings.settle_seconds,
            )
            if paying is not None:
                matching.suspect = paying.surplus.suspect
            stack.push_async_callback(_end, _start(matching.run(lambda: upkeep.leads), "match"))
            missed = MissedNotices(payments.read_undelivered, bookings.keep_notice, completer.wake)
            stack.push_async_callback(_end, _start(missed.run(lambda: upkeep.leads), "missed notices"))
        if paying is not None:
            stack.push_async_callback(_end, _start(paying.run(lambda: upkeep.leads), "payouts"))
        for name, work in (
            ("feed", feed.run()),
            ("wakes", book.wakes.run()),
            ("sockets", live.keep()),
            ("upkeep", upkeep.run()),
            ("drift", Checker(book, holds, pool).run(lambda: upkeep.leads)),
            ("completer", completer.run()),
            ("acts of staff", holding.run(lambda: upkeep.leads)),
            ("hand-overs", handing.run(lambda: upkeep.leads)),
            ("notices", _listen(dsn, live, upkeep)),
            ("copies", publishing.run(lambda: upkeep.leads)),
            ("openings", _open_allotments(allotting, upkeep)),
            ("audit", trail.run(lambda: upkeep.leads)),
            ("anchors", _anchor(settings, pool, upkeep)),
            ("backups", Retention(pool, library, backups, policy_of(settings)).run(lambda: upkeep.leads)),
            ("scrub", Scrubbing(pool, library).run(lambda: upkeep.leads)),
        ):
            stack.push_async_callback(_end, _start(work, name))
        yield services, live


def _identify(desk: StaffDesk, partners: Partners) -> Callable[[str], Awaitable[Visitor | None]]:
    """Knows staff by their tokens and partners by their keys."""

    async def identify(token: str) -> Visitor | None:
        if token.startswith(STAFF_TOKEN_PREFIX):
            staff = await desk.who(token)
            if staff is None:
                return None
            clerk = any(staff.may(role) for role in CLERKS)
            return Visitor(staff=staff.id, manages=staff.may("manager"), clerk=clerk, bound=staff.bound)
        partner = await partners.who(token)
        return None if partner is None else Visitor(channel=partner.channel)

    return identify


async def _open_allotments(allotting: Allotting, upkeep: Upkeep) -> None:
    """Opens what channels have when its time has come, in the one worker that leads, until cancelled."""
    while True:
        await asyncio.sleep(limits.OPENINGS_LOOK_SECONDS)
        if not upkeep.leads:
            continue
        try:
            await allotting.open_due()
        except LmlError as error:
            log.warning("channels are not opened yet: %s", error)
        except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
            log.exception("opening channels failed")


async def _anchor(settings: Settings, pool: postgres.Pool, upkeep: Upkeep) -> None:
    """Anchors the audit trail's chains now and then, in the one worker that leads, until cancelled."""
    async with anchor_store(settings) as store:
        await Anchoring(pool, store, anchor_seconds=settings.anchor_seconds).run(lambda: upkeep.leads)


def _start(loop: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    """Starts one of the worker's loops. Should a defect end it, that is told: nobody would miss it for weeks."""

    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("this worker has no more %r: restart it", name, exc_info=error)

    task = asyncio.create_task(loop, name=name)
    task.add_done_callback(ended)
    return task


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _listen(dsn: str, live: Live, upkeep: Upkeep) -> None:
    """Hears of changed events (`NOTIFY event_changed`) until cancelled; after a break everything is looked at anew."""
    heard: asyncio.Queue[str] = asyncio.Queue(limits.NOTICES_MAX)

    def hear(_connection: object, _pid: int, _channel: str, event: object) -> None:
        try:
            heard.put_nowait(str(event))
        except asyncio.QueueFull:  # the rooms' own check finds what is dropped here
            live.acts.desks.forget()

    while True:
        try:
            connection = await postgres.connect(dsn, application_name="lml notices")
        except Unavailable:
            await asyncio.sleep(limits.NOTICES_RETRY_SECONDS)
            continue
        try:
            await connection.add_listener(CHANNEL, hear)
            live.acts.desks.forget()
            for event in list(live.feed.rooms):
                hear(None, 0, CHANNEL, event)
            upkeep.look_again()  # a sale that opened meanwhile has no room yet
            while not connection.is_closed():
                try:
                    # Not `wait_for`, which may lose a cancellation on Python 3.11.
                    async with asyncio.timeout(limits.NOTICES_RETRY_SECONDS):
                        event = await heard.get()
                except TimeoutError:
                    continue
                await live.refresh(event)
                upkeep.look_again()
        except Unavailable as error:
            log.warning("notices of changed events are interrupted: %s", error)
        finally:
            connection.terminate()


def _payments(settings: Settings, pace: Pace) -> "StripePayments | None":
    """Stripe, or its double; None where no key is set: then only what costs nothing is sold, and the pages say so."""
    if settings.stripe_api_key is None:
        return None
    if settings.stripe_publishable_key is None:
        raise Unavailable("LML_STRIPE_PUBLISHABLE_KEY is not set.")
    from lml_live.booking.stripe_payments import StripePayments  # a third of a second, for those who sell only

    return StripePayments(
        pace,
        settings.stripe_api_key,
        settings.stripe_publishable_key,
        settings.stripe_api_base,
        methods=settings.payment_methods,
    )


async def _secret(settings: Settings, pool: postgres.Pool) -> bytes:
    """The house's secret: the one set, or the one in PostgreSQL, made once, so that all workers agree."""
    if settings.secret is not None:
        return settings.secret.encode()
    async with postgres.connection(pool) as connection:
        await connection.execute(_SQL["make_secret"], secrets.token_bytes(32))
        secret: bytes = await connection.fetchval(_SQL["load_secret"])
    return secret
