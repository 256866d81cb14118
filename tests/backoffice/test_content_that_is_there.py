"""Content counts as stored already where it is: not where MongoDB has another's fingerprint, or another's version."""

import msgspec
from test_forged_layouts import House, house
from test_scrubbing import HALL, pool, rehash

from lml_live.venues.demo import generate_venue
from lml_live.venues.layout import seal_layout
from lml_live.venues.stored import VERSIONS

__all__ = ["house", "pool"]

OTHER = seal_layout(msgspec.structs.replace(HALL, name="Other", hash=""))


async def test_content_is_not_there_because_mongodb_says_so(house: House) -> None:
    """With the fingerprint of other content on a version, whoever saved that heard that it was deployed already."""
    await house.database[VERSIONS].update_one({}, {"$set": {"fingerprint": OTHER.hash}})
    saved = await house.library.save_draft(OTHER, replace=False)
    assert (saved.changed, saved.version.version, saved.version.state) == (True, 2, "draft")
    assert (await house.library.load_layout("hall", 2)).name == "Other"


async def test_a_draft_has_not_the_content_because_mongodb_says_so(house: House) -> None:
    draft = (await house.library.save_draft(generate_venue(29, "hall"))).version
    await house.database[VERSIONS].update_one({"version": 2}, {"$set": {"fingerprint": OTHER.hash}})
    saved = await house.library.replace_draft(OTHER, draft.hash)
    assert saved.changed
    assert (await house.library.load_layout("hall", 2)).name == "Other"
    again = await house.library.replace_draft(OTHER, draft.hash)
    assert (again.changed, again.version) == (False, saved.version), "whoever sends it again was not overtaken"


async def test_content_of_a_version_that_is_another_on_record_is_stored(house: House) -> None:
    """What was put in a version's place goes when it is mended, and the content with it that somebody had saved."""
    await rehash(house.database)
    forged = await house.library.load_layout("hall", 1)
    saved = await house.library.save_draft(msgspec.structs.replace(forged, hash=""), replace=False)
    assert (saved.changed, saved.version.version, saved.version.state) == (True, 2, "draft")
    again = await house.library.save_draft(msgspec.structs.replace(forged, hash=""), replace=False)
    assert (again.changed, again.version.version) == (False, 2)
