"""Peers that run under Node: `ws` and `socket.io`, installed by npm into the stand's folder.

`node/package.json` has their versions. Where npm, Node or the registry is missing, the reason is told in their place.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from lml_live.bench import bounds
from lml_live.bench.child import environment

NAMES: Final = ("socket.io", "ws")
_SOURCE: Final = Path(__file__).with_name("node")
_NPM: Final = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


async def install(directory: Path) -> dict[str, list[str]] | str:
    """The command line of each peer, or why there is none. Nothing outside `directory` is changed but npm's cache."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "Node and npm are not here"
    home = directory / "node"
    if not home.exists():
        shutil.copytree(_SOURCE, home)
        process = await asyncio.create_subprocess_exec(
            *(npm, *_NPM),
            cwd=home,
            env=environment({}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(bounds.NPM_SECONDS_MAX):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"npm had not installed them after {bounds.NPM_SECONDS_MAX:.0f} s"
        if process.returncode != 0:
            return f"npm could not install them: {said.decode(errors='replace').strip().splitlines()[0][:100]}"
    if not all((home / "node_modules" / name).is_dir() for name in NAMES):
        return "npm did not install them"
    return {name: [node, str(home / "peer.js"), name] for name in NAMES}
