"""What the server's user may do in MongoDB: a role made of one table, granted by the database's owner.

The owner makes collections, rules and indexes; the server signs in as somebody who can do none of it. Above all it has
neither `bypassDocumentValidation` nor `collMod` (with `dbAdmin` it would have both), so whatever the program is made to
write, MongoDB checks it.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from lml_live.errors import InvalidInput
from lml_live.infra.mongo import Database, Document, driver_errors

Rights = Mapping[str, frozenset[str]]
"""By collection; `""` is what is about the database itself."""

SERVER_ROLE: Final = "lmlServer"

_ROLE_EXISTS: Final = 51002
_USER_EXISTS: Final = 51003


class SignIn(Struct, frozen=True):
    """Who an address signs in as, and where that user is known."""

    user: str
    password: str | None
    source: str


class RoleDifferences(Struct, frozen=True):
    """Where a user's rights are not those of the table; each says `ACTION ON collection`."""

    user: str | None
    """None where MongoDB asks nobody who they are: then everybody may do everything."""
    too_little: tuple[str, ...] = ()
    too_much: tuple[str, ...] = ()


def sign_in_of(url: str) -> SignIn | None:
    """Who an address names, or None where it names nobody. Raises `InvalidInput` where it is none of MongoDB's."""
    try:
        address: Mapping[str, Any] = parse_uri(url)
    except (PyMongoError, ValueError) as error:
        raise InvalidInput("The address of MongoDB is no mongodb://user:password@host/?replicaSet=…") from error
    if not address["username"]:
        return None
    options = {name.lower(): value for name, value in address["options"].items()}
    source = options.get("authsource") or address["database"] or "admin"
    return SignIn(address["username"], address["password"] or None, source)


def role_document(database: str, rights: Rights) -> Document:
    """The role as MongoDB takes it: nothing inherited, each collection by name."""
    return {
        "privileges": [
            {"resource": {"db": database, "collection": name}, "actions": sorted(actions)}
            for name, actions in sorted(rights.items())
        ],
        "roles": [],
    }


async def grant_role(owner: Database, rights: Rights, sign_in: SignIn) -> None:
    """Makes or mends the role, and the user where it is not there; safe to repeat, beside running servers.

    A user that is there loses every other role. Raises `InvalidInput` where one must be made and has no password.
    """
    document = role_document(owner.name, rights)
    granted: Document = {"roles": [{"role": SERVER_ROLE, "db": owner.name}]}
    users = owner.client[sign_in.source]
    with driver_errors():
        try:
            await owner.command("createRole", SERVER_ROLE, **document)
        except OperationFailure as error:
            if error.code != _ROLE_EXISTS:
                raise
            await owner.command("updateRole", SERVER_ROLE, **document)
        if (await users.command("usersInfo", sign_in.user))["users"]:
            await users.command("updateUser", sign_in.user, **granted)
            return
        if sign_in.password is None:
            raise InvalidInput(f"There is no user {sign_in.user} in MongoDB, and the address has no password for one.")
        try:
            await users.command("createUser", sign_in.user, pwd=sign_in.password, **granted)
        except OperationFailure as error:
            if error.code != _USER_EXISTS:
                raise


async def compare_role(database: Database, rights: Rights) -> RoleDifferences:
    """What whoever is signed in may do, by whatever roles, beside the table."""
    with driver_errors():
        status = await database.command("connectionStatus", showPrivileges=True)
    known = status["authInfo"]
    if not known["authenticatedUsers"]:
        return RoleDifferences(None)
    held = {name: _actions_on(database.name, name, known["authenticatedUserPrivileges"]) for name in rights}
    # What is granted on the whole database is true of each collection, too.
    held = {name: actions - (rights.get("", frozenset()) if name else set()) for name, actions in held.items()}
    little = sorted(f"{action} ON {name or database.name}" for name in rights for action in rights[name] - held[name])
    much = sorted(f"{action} ON {name or database.name}" for name in rights for action in held[name] - rights[name])
    return RoleDifferences(known["authenticatedUsers"][0]["user"], tuple(little), tuple(much))


def _actions_on(database: str, collection: str, privileges: list[Document]) -> set[str]:
    """Of `""` only what is granted on the whole database counts, of a collection what is granted on it in any way."""
    actions: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        everywhere = bool(resource.get("anyResource"))
        ours = resource.get("db") in (database, "") and resource.get("collection") in (collection, "")
        if everywhere or ours:
            actions.update(privilege["actions"])
    return actions
