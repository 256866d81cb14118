"""The library of layouts in MongoDB: drafts, published versions, deployed versions, and those that had their time.

    draft ── publish ──▶ published ── deploy ──▶ deployed
                             └────── retire ──▶ retired ◀── retire ──┘

A layout has at most one draft; a published version never changes. Each step is one update whose condition is the state
that it leaves, so two people who act at once cannot both succeed.

A layout is several documents (`stored`), written in one transaction with the version's own, which names them by their
`upload`. What is read is hashed again, every time: who has changed a document behind our back is found before anything
is published, deployed or sold on it. A state is in no hash: it is held against what is on record of it elsewhere, too
(`past`; docs/decisions/029).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec

from lml_live import limits
from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import Conflict, LmlError, NotFound, Refused, Unavailable, Violation
from lml_live.infra.mongo import (
    Collections,
    Document,
    Session,
    driver_errors,
    transaction,
)
from lml_live.values import new_id
from lml_live.venues.assembly import (
    Checked,
    LayoutDamaged,
    check_again,
    check_layout,
    described,
    hold_ids_to_labels,
    make_documents,
    put_together,
    spell_again,
)
from lml_live.venues.backups import Backups
from lml_live.venues.differences import LayoutDiff, compare_layouts
from lml_live.venues.layout import Layout, count_places, count_seats, decode_layout, spell_layout, verify_bytes
from lml_live.venues.past import (
    MEND,
    SAVE_AGAIN,
    History,
    Past,
    next_number,
    put_forward,
    what_to_do_ahead,
    why_ahead,
    why_set_back,
)
from lml_live.venues.recent import Told, UnknownContents
from lml_live.venues.retention import Backup, Reason
from lml_live.venues.schema import delete_upload, insert_upload
from lml_live.venues.seat_index import LayoutIndex, index_layout
from lml_live.venues.stored import (
    PLANS,
    SECTIONS,
    VERSIONS,
    LayoutVersion,
    State,
    collection_rules,
    documents_of,
)

_log: Final = logging.getLogger(__name__)

_LAWFUL: Final = collection_rules()[VERSIONS]
"""What a version's document must keep: whoever may pass MongoDB's rules by can still have written another."""
_IN_ORDER: Final = [("layout_id", 1), ("version", 1)]


class Saved(msgspec.Struct, frozen=True):
    """What became of a layout that was saved. `changed` is false where the library had this content already; `backup`
    is the one that it was restored from."""

    version: LayoutVersion
    changed: bool
    warnings: tuple[Violation, ...] = ()
    backup: Backup | None = None


class DraftMoved(LmlError):
    """The draft is not the one that was meant, and nothing was `done`. `diff` is what the step would have changed."""

    code = "precondition_failed"

    def __init__(
        self, draft: LayoutVersion | None, diff: LayoutDiff | None, *, done: Literal["stored", "published"] = "stored"
    ) -> None:
        seen = {"stored": "changed", "published": "looked at"}[done]
        super().__init__(
            f"The draft is another than the one that you {seen}. Nothing was {done}; look at the difference."
            if draft is not None
            else f"The layout has no draft (any more). Nothing was {done}."
        )
        self.draft = draft
        self.diff = diff


class Library:
    """The layouts of one database. Every method raises `Unavailable` where MongoDB does not answer in time.

    With `backups` nothing is published or deployed before its content is there: where that fails, neither is done.
    With `history` what was set back in MongoDB, has another hash than on record, or was published by nobody who is on
    record, is `LayoutDamaged` to whoever takes a step with it. That is logged once, until the version changes.
    """

    def __init__(
        self,
        database: Collections,
        clock: Clock = system_clock_ms,
        log: logging.Logger = _log,
        backups: Backups | None = None,
        history: History | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._log = log
        self._backups = backups
        self._history = history
        self._unknown = None if history is None else UnknownContents(history, monotonic)
        self._told = Told()

    async def save_draft(self, layout: Layout, *, version: int | None = None, replace: bool = True) -> Saved:
        """Stores a layout as the draft of its id: a new one, or instead of the draft that is there.

        Without `replace` another draft that is there stays: `Refused` (precondition_required).

        Content that is published already, or is the draft already, changes nothing. `version` asks for that version and
        no other: where it is published and differs, `Refused` (layout_immutable). Raises `InvalidLayout` with every
        broken rule, `Conflict` where somebody else saved at the same moment.
        """
        checked = await asyncio.to_thread(check_layout, layout)
        known = await self.status(layout.layout_id)
        for existing in known:
            if version in (None, existing.version) and await self._is_stored(existing, checked):
                return Saved(existing, False, checked.warnings)
        draft = _draft_of(known)
        target = draft.version if draft else await self._next_number(layout.layout_id, known)
        if version is not None and version != target:
            if any(existing.version == version for existing in known):
                raise Refused("layout_immutable", f"Version {version} of {layout.layout_id} is published and stays so.")
            raise Conflict(f"The next version of {layout.layout_id} is {target}, not {version}.")
        if draft is not None and not replace:
            words = f"{layout.layout_id} has a draft already: replace it by PUT, with If-Match."
            raise Refused("precondition_required", words)
        return Saved(await self._store(checked, target, draft), True, checked.warnings)

    async def _is_stored(self, existing: LayoutVersion, checked: Checked) -> bool:
        """Whether a version has this content: read anew, for what its document says of it anybody may have written
        there, and on record as such if it is more than a draft there."""
        if existing.fingerprint != checked.fingerprint:
            return False
        past = (await self._on_record(existing.layout_id)).get(existing.version)
        if past is not None and past.state != "draft" and past.hash != existing.hash:
            return False
        try:
            await self._load(existing)
        except (LayoutDamaged, Conflict):
            return False
        return True

    async def _store(self, checked: Checked, target: int, draft: LayoutVersion | None) -> LayoutVersion:
        """Writes a checked layout as the draft `target`, instead of `draft` where there is one."""
        if draft is not None:
            past = (await self._on_record(draft.layout_id)).get(draft.version)
            # A draft that is another than the one on record may give way; what was more than a draft may not.
            if past is not None and past.state != "draft" and (why := why_set_back(draft, past)) is not None:
                self._refuse(draft, why)
        upload = new_id("upload")
        sealed, size_bytes, plan, sections = await asyncio.to_thread(make_documents, checked, target, upload)
        saved = LayoutVersion(
            layout_id=sealed.layout_id,
            version=target,
            state="draft",
            hash=sealed.hash,
            fingerprint=checked.fingerprint,
            upload=upload,
            name=sealed.name,
            type=sealed.type,
            seat_count=count_seats(sealed),
            place_count=count_places(sealed),
            size_bytes=size_bytes,
            saved_ms=self._clock(),
        )
        async with transaction(self._database) as session:
            # First the one document that others may want, too: who loses has written nothing else yet.
            await self._write_draft(saved, draft, session)
            if draft is not None:
                await delete_upload(self._database, draft.upload, session)
            await insert_upload(self._database, plan, sections, session)
        return saved

    async def replace_draft(self, layout: Layout, expected_hash: str) -> Saved:
        """Stores a layout instead of the draft that has this hash. Raises `DraftMoved` where the draft is another (or
        none), with what the change would have been, and has changed nothing; else as `save_draft`.

        A draft that has this very content already is left as it is, whatever its hash was (RFC 9110, 13.1.1): whoever
        sends it again, as the answer was lost, has not been overtaken by himself.
        """
        checked = await asyncio.to_thread(check_layout, layout)
        draft = await self.find_draft(checked.layout.layout_id)
        stored = draft is not None and await self._is_stored(draft, checked)
        if draft is not None and draft.hash == expected_hash and not stored:
            # Somebody who is faster may have stored this very content.
            with contextlib.suppress(Conflict):
                return Saved(await self._store(checked, draft.version, draft), True, checked.warnings)
            draft = await self.find_draft(checked.layout.layout_id)
            stored = draft is not None and await self._is_stored(draft, checked)
        if draft is not None and stored:
            return Saved(draft, False, checked.warnings)
        raise DraftMoved(draft, None if draft is None else await self._difference(draft, checked.layout))

    async def begin_draft(self, layout_id: str, version: int) -> LayoutVersion:
        """Makes a new draft with the content of a version that is none. Raises `NotFound`, `LayoutDamaged`, and
        `Conflict` where the layout has a draft already."""
        known = await self.status(layout_id)
        old = next((existing for existing in known if existing.version == version), None)
        if old is None:
            raise NotFound(f"There is no layout {layout_id}, version {version}.")
        if any(existing.state == "draft" for existing in known):
            raise Conflict(f"{layout_id} has a draft already: publish it, or replace it.")
        await self._hold_against_record(old, "published")
        layout, _ = await self._load(old)
        number = await self._next_number(layout_id, known)
        return await self._store(await asyncio.to_thread(spell_again, layout), number, None)

    async def back_up(self, layout_id: str, version: int | None = None, reason: Reason = "asked") -> Backup:
        """Makes a backup of a version now; without `version` of the latest. Raises `NotFound`, `LayoutDamaged` (also
        for what is not what is on record), `Unavailable`, and `Conflict` where no backups are kept."""
        known = [each for each in await self.status(layout_id) if version in (None, each.version)]
        if not known:
            raise NotFound(f"There is no layout {layout_id}{'' if version is None else f', version {version}'}.")
        past = (await self._on_record(layout_id)).get(known[-1].version)
        if known[-1].state != "draft":
            await self._hold_against_record(known[-1], "published")
        elif past is not None and past.state != "draft":
            await self._hold_against_record(known[-1])
        made = await self._back_up(known[-1], (await self._load(known[-1]))[1], reason)
        if made is None:
            raise Conflict("No backups are kept here.")
        return made

    async def restore(self, layout_id: str, backup_id: str | None = None, *, replace: bool = False) -> Saved:
        """Makes a new draft of a backup; without an id of the newest one that is whole, of those on record where there
        is one: whoever may write to MongoDB has what he wrote backed up.

        With `replace` a draft that is there gives way, and is backed up before. Raises `NotFound`, `LayoutDamaged` for
        a backup that is not what was backed up, `Conflict` where there is a draft and no `replace`.
        """
        if self._backups is None:
            raise Conflict("No backups are kept here.")
        backups = await self._backups.of_layout(layout_id)
        recorded = await self._hashes_on_record(layout_id) if backup_id is None else frozenset()
        backup, data = await self._backups.read(layout_id, backup_id, recorded)
        try:
            checked = await asyncio.to_thread(lambda: check_again(decode_layout(data)))
        except msgspec.MsgspecError as error:
            # Whoever may write to the store can give anything a name with its hash.
            raise LayoutDamaged(f"Backup {backup.id} of {layout_id} is no layout.") from error
        if checked.layout.layout_id != layout_id:
            # Whole, but put there under another's name: it would become that one's draft.
            raise LayoutDamaged(f"Backup {backup.id} of {layout_id} is one of {checked.layout.layout_id}.")
        known = await self.status(layout_id)
        draft = _draft_of(known)
        if draft is not None and draft.fingerprint == checked.fingerprint:
            # What is damaged is what one restores for.
            with contextlib.suppress(LayoutDamaged):
                await self._load(draft)
                return Saved(draft, False, checked.warnings, backup)
        if draft is not None and not replace:
            raise Conflict(f"{layout_id} has a draft already: publish it, or let it be replaced.")
        if draft is not None:
            # What is damaged cannot be backed up, and is what one restores for.
            with contextlib.suppress(LayoutDamaged):
                await self._back_up(draft, (await self._load(draft))[1], "restore")
        # Where the database was lost its numbers were, too; none of them is given twice.
        if draft is None:
            target = await self._next_number(layout_id, known, *(each.version for each in backups))
        else:
            target = draft.version
        return Saved(await self._store(checked, target, draft), True, checked.warnings, backup)

    async def mend(self, layout_id: str, version: int, data: bytes) -> LayoutVersion:
        """Puts the documents of a version back whose stored content is damaged: `data` are its canonical bytes, of a
        backup or a copy. Nothing else can be put there: what has not the version's hash is `LayoutDamaged`. A version
        that was set back gets the state, the hash and the moments again that are on record of it, and so does one that
        MongoDB has lost."""
        wanted, stored, past = await self._as_on_record(layout_id, version)
        if not await asyncio.to_thread(verify_bytes, data, wanted):
            raise LayoutDamaged(f"These are not the bytes of version {version} of {layout_id}.")
        layout = await asyncio.to_thread(decode_layout, data)
        target = await self._anew(layout) if stored is None else stored
        target = target if past is None else put_forward(target, past)
        plan, sections = await asyncio.to_thread(documents_of, layout, target.upload)
        right = await asyncio.to_thread(lambda: described(target, layout, spell_layout(layout), len(data)))
        await asyncio.to_thread(put_together, right, plan, sections)
        async with transaction(self._database) as session:
            await self._put_right(stored, right, session)
            await delete_upload(self._database, target.upload, session)
            await insert_upload(self._database, plan, sections, session)
        await self._load(right)
        return msgspec.structs.replace(right, damaged_ms=None)

    async def hash_of(self, layout_id: str, version: int) -> str:
        """The hash that a version must have: where it was set back, or lost, the one on record. Raises `NotFound`."""
        return (await self._as_on_record(layout_id, version))[0]

    async def _as_on_record(self, layout_id: str, version: int) -> tuple[str, LayoutVersion | None, Past | None]:
        """The hash of a version, the version as MongoDB has it (if it has), and what is on record where that is
        another. Raises `NotFound`, and `Conflict` for a draft that is rightly one."""
        past = (await self._on_record(layout_id)).get(version)
        stored = next((each for each in await self.status(layout_id) if each.version == version), None)
        if past is not None and past.state != "draft" and (stored is None or why_set_back(stored, past) is not None):
            return past.hash, stored, past
        chosen = await self._chosen(layout_id, version)
        return chosen.hash, chosen, None

    async def _anew(self, layout: Layout) -> LayoutVersion:
        """The document of a version that MongoDB has lost, before it has its state and moments; of its content what is
        still there is taken."""
        with driver_errors():
            where = {"layout_id": layout.layout_id, "version": layout.version}
            left = await self._database[PLANS].find_one(where, {"_id": 1})
        used = {each.upload for each in await self.status(layout.layout_id)}
        upload = new_id("upload") if left is None or left["_id"] in used else left["_id"]
        counts = count_seats(layout), count_places(layout)
        content = (layout.hash, layout.hash, upload, layout.name, layout.type)
        return LayoutVersion(layout.layout_id, layout.version, "draft", *content, *counts, 1, self._clock())

    async def _put_right(self, stored: LayoutVersion | None, right: LayoutVersion, session: Session) -> None:
        with driver_errors():
            if stored is None:
                document = {"_id": right.key, **msgspec.to_builtins(right)}
                await self._database[VERSIONS].insert_one(document, session=session)
                return
            now = msgspec.structs.asdict(right)
            true = {name: value for name, value in now.items() if value != getattr(stored, name)}
            if true:
                where = {"_id": stored.key, "hash": stored.hash, "upload": stored.upload}
                await self._database[VERSIONS].update_one(where, {"$set": true}, session=session)

    async def _next_number(self, layout_id: str, known: tuple[LayoutVersion, ...], *others: int) -> int:
        past = await self._on_record(layout_id)
        # The number of a draft that was lost was never anybody's.
        return next_number(known, (*(each.version for each in past.values() if each.state != "draft"), *others))

    async def _on_record(self, layout_id: str) -> Mapping[int, Past]:
        return {} if self._history is None else await self._history.of_layout(layout_id)

    async def _hashes_on_record(self, layout_id: str) -> frozenset[str]:
        return frozenset() if self._history is None else await self._history.hashes_of(layout_id)

    async def is_on_record(self, version: LayoutVersion) -> bool:
        """Whether a version is on record with the content that it has: a draft of which that was lost is not."""
        if self._history is None:
            return True
        past = (await self._on_record(version.layout_id)).get(version.version)
        return past is not None and past.hash == version.hash

    async def _hold_against_record(self, version: LayoutVersion, step: State | None = None) -> None:
        """Raises `LayoutDamaged`, and logs it, where a version is not what is on record of it: it was set back in
        MongoDB, has another hash, or nobody is on record to have made it `step`. Raises `Conflict` where it has taken a
        step since it was read."""
        pasts = await self._on_record(version.layout_id)
        past = pasts.get(version.version)
        why, advice = why_set_back(version, past), MEND if past is None or past.state != "draft" else SAVE_AGAIN
        if why is None and step is not None:
            why, advice = why_ahead(version, pasts, step), what_to_do_ahead(version)
        if why is None:
            self._told.forget(version.key, (version.state, version.hash))
            return
        if version not in await self.status(version.layout_id):
            raise Conflict(f"Version {version.version} of {version.layout_id} was changed by somebody else just now.")
        self._refuse(version, why, advice)

    def _refuse(self, version: LayoutVersion, why: str, advice: str = MEND) -> NoReturn:
        words = f"Version {version.version} of {version.layout_id} {why}: nothing is done with it. {advice}"
        if self._told.is_news(version.key, (version.state, version.hash)):
            self._log.error("%s", words)
        raise LayoutDamaged(words)

    async def _back_up(self, version: LayoutVersion, data: bytes, reason: Reason) -> Backup | None:
        if self._backups is None:
            return None
        return await self._backups.take(version.layout_id, version.version, version.hash, data, reason)

    async def find_draft(self, layout_id: str) -> LayoutVersion | None:
        """The draft of a layout, if it has one."""
        return next(iter(await self._find({"layout_id": layout_id, "state": "draft"}, [])), None)

    async def compare(self, layout_id: str, before: int, after: int) -> LayoutDiff:
        """What the step from one version to another changes. Raises `NotFound`, `LayoutDamaged`."""
        known = {existing.version: existing for existing in await self.status(layout_id)}
        if before not in known or after not in known:
            raise NotFound(f"There are no such two versions of {layout_id}.")
        layouts = [(await self._load(known[version]))[0] for version in (before, after)]
        return await asyncio.to_thread(compare_layouts, *layouts)

    async def publish(self, layout_id: str) -> LayoutVersion:
        """Makes the draft unchangeable. Raises `NotFound`, `LayoutDamaged`, or `Conflict` where there is no draft (any
        more)."""
        known = await self.status(layout_id)
        if not known:
            raise NotFound(f"There is no layout {layout_id}.")
        draft = _draft_of(known)
        if draft is None:
            raise Conflict(f"{layout_id} has no draft: version {known[-1].version} is {known[-1].state} already.")
        return await self._publish(draft)

    async def publish_seen(self, layout_id: str, expected_hash: str) -> LayoutVersion:
        """Makes the draft that has this hash unchangeable; twice is once.

        Raises `DraftMoved` where the draft is another (or none), with what publishing that would change against the
        version before it (no difference where it is the first), and has changed nothing; `Conflict` where that draft
        was stored anew just now; else as `publish`.
        """
        known = await self.status(layout_id)
        if not known:
            raise NotFound(f"There is no layout {layout_id}.")
        draft = _draft_of(known)
        if draft is not None and draft.hash == expected_hash:
            try:
                return await self._publish(draft)
            except Conflict:
                # Somebody who is faster may have published this very draft, or put another in its place.
                known = await self.status(layout_id)
                if (draft := _draft_of(known)) is not None and draft.hash == expected_hash:
                    raise
        for version in known:
            if version.hash == expected_hash and version.state in ("published", "deployed"):
                await self._hold_against_record(version)
                await self._load(version)
                return version
        raise await self._other_draft(known)

    async def _other_draft(self, known: tuple[LayoutVersion, ...]) -> DraftMoved:
        """Why the draft of a layout with these versions is not published."""
        draft = _draft_of(known)
        before = next((version for version in reversed(known) if version.state != "draft"), None)
        if draft is None or before is None:
            return DraftMoved(draft, None, done="published")
        diff = await self.compare(draft.layout_id, before.version, draft.version)
        return DraftMoved(draft, diff, done="published")

    async def _publish(self, draft: LayoutVersion) -> LayoutVersion:
        await self._hold_against_record(draft, "draft")
        # Nothing is published whose bytes are not what their hash says, or with ids that are nobody's.
        layout, data = await self._load(draft)
        await asyncio.to_thread(hold_ids_to_labels, layout)
        await self._back_up(draft, data, "publish")
        change = {"state": "published", "published_ms": self._clock(), "damaged_ms": None}
        return await self._advance(draft, ("draft",), change)

    async def deploy(self, layout_id: str, version: int | None = None) -> LayoutVersion:
        """Makes a published version usable for events; without `version` the latest published one.

        Deploying again changes nothing, but what is stored is looked at again. Raises `NotFound`, `Conflict` for a
        draft and for what is retired, `LayoutDamaged`.
        """
        return await self._step(await self._chosen(layout_id, version), self._deploy)

    async def _deploy(self, target: LayoutVersion) -> LayoutVersion:
        if target.state == "retired":
            raise Conflict(f"Version {target.version} of {target.layout_id} is retired: make a new draft from it.")
        await self._hold_against_record(target, "published")
        await self._back_up(target, (await self._load(target))[1], "deploy")
        if target.state == "deployed":
            return msgspec.structs.replace(target, damaged_ms=None)
        change = {"state": "deployed", "deployed_ms": self._clock(), "damaged_ms": None}
        return await self._advance(target, ("published",), change)

    async def retire(self, layout_id: str, version: int) -> LayoutVersion:
        """Takes a version out of use for good: no new event is made on it. Those that are sold on it go on.

        Retiring again changes nothing. Raises `NotFound`, `Conflict` for a draft, or `LayoutDamaged` where it is not
        what is on record, or nobody is on record to have published it: its hash would be on record from then on.
        """
        return await self._step(await self._chosen(layout_id, version), self._retire)

    async def _retire(self, target: LayoutVersion) -> LayoutVersion:
        await self._hold_against_record(target, "published")
        if target.state == "retired":
            return target
        change = {"state": "retired", "retired_ms": self._clock()}
        return await self._advance(target, ("published", "deployed"), change)

    async def _step(
        self, target: LayoutVersion, take: Callable[[LayoutVersion], Awaitable[LayoutVersion]]
    ) -> LayoutVersion:
        """Takes a step; where somebody else was faster with one, once more with what the version is now. If that is
        what was asked for, it is as if it had been asked for again."""
        try:
            return await take(target)
        except Conflict:
            now = await self._chosen(target.layout_id, target.version)
            if now.state == target.state:
                raise
            return await take(now)

    async def status(self, layout_id: str) -> tuple[LayoutVersion, ...]:
        """All versions of a layout, the oldest first; none where nobody knows it."""
        return await self._find({"layout_id": layout_id}, [("version", 1)])

    async def list_layouts(self, *, after: str = "", limit: int = limits.PAGE_ITEMS_MAX) -> tuple[LayoutVersion, ...]:
        """The latest version of each layout whose id comes after `after`, in order of ids."""
        latest: list[Document] = [
            {"$match": {"layout_id": {"$gt": after}, **_LAWFUL}},
            {"$sort": {"layout_id": 1, "version": -1}},
            {"$group": {"_id": "$layout_id", "latest": {"$first": "$$ROOT"}}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
        ]
        with driver_errors():
            groups = await self._database[VERSIONS].aggregate(latest).to_list(length=limit)
        return tuple(_version(group["latest"]) for group in groups)

    async def deployed(self, layout_id: str, version: int | None = None) -> LayoutVersion:
        """A deployed version; without `version` the newest. Raises `NotFound`, `Conflict` where it is none, and
        `LayoutDamaged` where it is not what is on record, or nobody is on record to have deployed it."""
        known = await self.status(layout_id)
        chosen = [each for each in known if each.state == "deployed" and version in (None, each.version)]
        if not known:
            raise NotFound("There is no such layout.")
        if not chosen:
            raise Conflict(f"{layout_id} has no {'' if version is None else f'version {version} that is '}deployed.")
        await self._hold_against_record(chosen[-1], "deployed")
        return chosen[-1]

    async def ever_deployed(self, known: tuple[LayoutVersion, ...]) -> tuple[tuple[LayoutVersion, ...], bool]:
        """Of these versions of one layout those that ever were deployed, as the record has them, and whether MongoDB
        says the same of them all. One with another hash has the one on record; one that nobody is on record to have
        deployed is none of them."""
        past = await self._on_record(known[0].layout_id) if known else {}
        found, same = [], True
        for version in known:
            one = past.get(version.version)
            if (why := why_set_back(version, one)) is not None and one is not None:
                version = put_forward(version, one)
            if version.deployed_ms is None:
                continue
            why = why or why_ahead(version, past, "deployed")
            same = same and why is None
            if why is None or (one is not None and one.deployed_ms is not None):
                found.append(version)
        return tuple(found), same

    async def newest_deployed(self, layout_id: str, version: int | None = None) -> LayoutVersion | None:
        """A deployed version that a new event may be made on; without `version` the newest; None where there is none.
        Raises `LayoutDamaged` where it is not what is on record, or nobody is on record to have deployed it."""
        known = [each for each in await self.status(layout_id) if each.state == "deployed"]
        chosen = [each for each in known if version in (None, each.version)]
        if not chosen:
            return None
        await self._hold_against_record(chosen[-1], "deployed")
        return chosen[-1]

    async def deployed_versions(self) -> tuple[LayoutVersion, ...]:
        """Every version that new events may be made on."""
        return await self._find({"state": "deployed", **_LAWFUL}, _IN_ORDER)

    async def live_versions(self) -> tuple[LayoutVersion, ...]:
        """Every version that is published or deployed."""
        return await self._find({"state": {"$in": ["published", "deployed"]}, **_LAWFUL}, _IN_ORDER)

    async def load_bytes(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes of a version that is no draft, verified; None where there is none of that hash, or it is
        not on record: where that is away, the hash must do.

        Raises `LayoutDamaged` where they are not what was stored.
        """
        found = await self._find({"layout_id": layout_id, "hash": layout_hash, "state": {"$ne": "draft"}}, [])
        if not found:
            return None
        # In whatever state, and whatever becomes of it now: the content is asked for, and is right by the record.
        with contextlib.suppress(Unavailable):
            if self._unknown is not None and await self._unknown.has(found[0]):
                return None
        return (await self._load(found[0]))[1]

    async def load_index(self, layout_id: str, version: int) -> LayoutIndex:
        """The index of a version that is no draft, verified. Raises `NotFound`, `LayoutDamaged`."""
        found = await self._find({"layout_id": layout_id, "version": version, "state": {"$ne": "draft"}}, [])
        if not found:
            raise NotFound(f"There is no published version {version} of layout {layout_id}.")
        layout, _ = await self._load(found[0])
        # In a thread: indexing 200,000 seats would hold up every socket for half a second.
        return await asyncio.to_thread(index_layout, layout)

    async def load_layout(self, layout_id: str, version: int | None = None) -> Layout:
        """A version in whatever state, verified; without `version` the latest. Raises `NotFound`, `LayoutDamaged`."""
        known = [existing for existing in await self.status(layout_id) if version in (None, existing.version)]
        if not known:
            raise NotFound(f"There is no layout {layout_id}{'' if version is None else f', version {version}'}.")
        return (await self._load(known[-1]))[0]

    async def load_draft_bytes(self, draft: LayoutVersion) -> bytes:
        """The canonical bytes of a draft, verified. Raises `LayoutDamaged`, and `Conflict` where it is gone."""
        return (await self._load(draft))[1]

    async def _find(self, where: Document, order: list[tuple[str, int]]) -> tuple[LayoutVersion, ...]:
        with driver_errors():
            cursor = self._database[VERSIONS].find(where, limit=limits.LAYOUT_VERSIONS_MAX)
            documents = await (cursor.sort(order) if order else cursor).to_list(length=limits.LAYOUT_VERSIONS_MAX)
        return tuple(map(_version, documents))

    async def _chosen(self, layout_id: str, version: int | None) -> LayoutVersion:
        """The version that is meant, a published one at least; None means the latest that is published or deployed."""
        known = await self.status(layout_id)
        if version is None:
            chosen = [existing for existing in known if existing.state in ("published", "deployed")]
            if known and not chosen:
                raise Conflict(f"{layout_id} has nothing that is published: publish its draft first.")
        else:
            chosen = [existing for existing in known if existing.version == version]
        if not chosen:
            raise NotFound(f"There is no layout {layout_id}{'' if version is None else f', version {version}'}.")
        if chosen[-1].state == "draft":
            raise Conflict(f"Version {chosen[-1].version} of {layout_id} is a draft: publish it first.")
        return chosen[-1]

    async def _advance(self, version: LayoutVersion, from_states: tuple[State, ...], change: Document) -> LayoutVersion:
        """One step of a version's life; the condition is the state and the content that the decision was made on."""
        where: Document = {"_id": version.key, "hash": version.hash, "upload": version.upload}
        where["state"] = {"$in": list(from_states)}
        with driver_errors():
            answer = await self._database[VERSIONS].update_one(where, {"$set": change})
        if answer.matched_count == 0:
            raise Conflict(f"Version {version.version} of {version.layout_id} was changed by somebody else just now.")
        return msgspec.structs.replace(version, **change)

    async def _write_draft(self, saved: LayoutVersion, before: LayoutVersion | None, session: Session) -> None:
        document = {"_id": saved.key, **msgspec.to_builtins(saved)}
        with driver_errors():
            if before is None:
                await self._database[VERSIONS].insert_one(document, session=session)
                return
            where = {"_id": saved.key, "state": "draft", "hash": before.hash, "upload": before.upload}
            answer = await self._database[VERSIONS].replace_one(where, document, session=session)
        if answer.matched_count == 0:
            raise Conflict(f"The draft of {saved.layout_id} was changed by somebody else just now.")

    async def scrub(self, version: LayoutVersion) -> bool:
        """Reads and hashes what is stored of a version; whether it is whole. `damaged_ms` says so from then on."""
        try:
            await self._load(version)
        except LayoutDamaged:
            return False
        return True

    async def next_version(self, after: str) -> LayoutVersion | None:
        """The version whose key (`layout_id:version`) comes after this one, of those that are no drafts; None at the
        end."""
        where = {"_id": {"$gt": after}, "state": {"$ne": "draft"}, **_LAWFUL}
        with driver_errors():
            found = await self._database[VERSIONS].find_one(where, sort=[("_id", 1)])
        return None if found is None else _version(found)

    async def damaged_versions(self) -> tuple[LayoutVersion, ...]:
        """Every version that was seen damaged and was not seen whole since."""
        return await self._find({"damaged_ms": {"$type": "number"}, **_LAWFUL}, _IN_ORDER)

    async def unlawful_versions(self) -> tuple[str, ...]:
        """The keys of versions that somebody has written past MongoDB's rules. Nothing is done with them, and no other
        layout suffers for them."""
        with driver_errors():
            cursor = self._database[VERSIONS].find({"$nor": [_LAWFUL]}, {"_id": 1}, limit=limits.LAYOUT_VERSIONS_MAX)
            return tuple(str(found["_id"]) for found in await cursor.to_list(length=limits.LAYOUT_VERSIONS_MAX))

    async def _difference(self, draft: LayoutVersion, wanted: Layout) -> LayoutDiff:
        stored, _ = await self._load(draft)
        return await asyncio.to_thread(compare_layouts, stored, wanted)

    async def _note_damage(self, version: LayoutVersion, moment_ms: int | None) -> None:
        where = {"_id": version.key, "upload": version.upload}
        # Its own trouble must not hide what was found.
        with contextlib.suppress(LmlError), driver_errors():
            await self._database[VERSIONS].update_one(where, {"$set": {"damaged_ms": moment_ms}})

    async def _load(self, version: LayoutVersion) -> tuple[Layout, bytes]:
        """The layout of a version and its canonical bytes, put together and hashed anew.

        Raises `LayoutDamaged`, and notes it in the version's document; `Conflict` for a draft that is gone.
        """
        with driver_errors():
            plan = await self._database[PLANS].find_one({"_id": version.upload})
            order = [("position", 1), ("part", 1)]
            cursor = self._database[SECTIONS].find({"upload": version.upload}).sort(order)
            sections = await cursor.to_list(length=limits.LAYOUT_SEATS_MAX)
        # In a thread: 200,000 seats would hold up every socket for a second.
        try:
            loaded = await asyncio.to_thread(put_together, version, plan, sections)
        except LayoutDamaged as error:
            uploads = [known.upload for known in await self.status(version.layout_id)]
            if version.state == "draft" and version.upload not in uploads:
                raise Conflict(f"The draft of {version.layout_id} was changed by somebody else just now.") from error
            if self._told.is_news(version.upload, (version.hash, error.message)):
                self._log.error("%s Nothing is deployed or newly sold on it: `lml layout mend` puts it back.", error)
            if version.damaged_ms is None:
                await self._note_damage(version, self._clock())
            raise
        self._told.forget(version.upload)
        if version.damaged_ms is not None:
            await self._note_damage(version, None)
        return loaded


def _draft_of(known: tuple[LayoutVersion, ...]) -> LayoutVersion | None:
    return next((version for version in known if version.state == "draft"), None)


def _version(document: Document) -> LayoutVersion:
    """Raises `LayoutDamaged` for what no version of this program has stored."""
    fields: dict[str, Any] = {name: value for name, value in document.items() if name != "_id"}
    try:
        return msgspec.convert(fields, LayoutVersion)
    except msgspec.ValidationError as error:
        raise LayoutDamaged(f"What is stored as {document['_id']} is no version of a layout.") from error
