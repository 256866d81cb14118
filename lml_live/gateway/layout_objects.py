"""`/layouts/{id}/…`: what would lie at the edge, where no bucket is set, under the bucket's own keys.

No part of the REST interface: a browser, or a CDN that is put before the server, finds here what it would find there.
"""

from aiohttp import web

from lml_live.errors import NotFound
from lml_live.venues.edge import JSON
from lml_live.venues.own_edge import OwnEdge


def object_routes(own: OwnEdge) -> list[web.RouteDef]:
    """The routes; beside those of pages, whose names end in no `.json`."""

    async def read_object(request: web.Request) -> web.Response:
        found = await own.find(request.match_info["layout"], request.match_info["name"])
        if found is None:
            raise NotFound("There is no such object.")
        headers = {
            "ETag": f'"{found.tag}"',
            "Cache-Control": found.cached,
            "Access-Control-Allow-Origin": "*",
            "X-Content-Type-Options": "nosniff",
        }
        if any(known.value in (found.tag, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if found.encoding is not None:
            headers["Content-Encoding"] = found.encoding
        return web.Response(body=found.data, content_type=JSON, headers=headers)

    return [web.get(r"/layouts/{layout}/{name:[0-9a-z.]+\.json(?:\.gz)?}", read_object)]
