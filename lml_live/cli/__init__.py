"""The command `lml`."""

import importlib
import sys
from typing import Final

import click

import lml_live
from lml_live.errors import LmlError
from lml_live.infra.config import mask_secrets

INTERRUPTED = 130
"""The shell's exit code for a program that Ctrl-C ended."""


COMMANDS: Final = {
    "up": "lml_live.cli.up:up",
    "serve": "lml_live.cli.serve:serve",
    "layout": "lml_live.cli.layouts:layout_group",
    "event": "lml_live.cli.events:event_group",
    "staff": "lml_live.cli.staff:staff_group",
    "money": "lml_live.cli.money:money_group",
    "audit": "lml_live.cli.audit:audit_group",
    "organisation": "lml_live.cli.organisations:organisation_group",
    "partner": "lml_live.cli.partners:partner_group",
    "migrate": "lml_live.cli.migrate:migrate_command",
    "doctor": "lml_live.cli.doctor:doctor",
    "bench": "lml_live.cli.bench:bench",
    "worker": "lml_live.cli.serve:worker",
}


class _Commands(click.Group):
    """Imports a command when it is asked for: a worker has no use for the engines, and half a second is long."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lml_live.__version__, prog_name="lml")
def lml() -> None:
    """Live seats: a seat map that everybody sees change, and holds that are all or nothing.

    \b
    Examples:
      lml up                            everything on this machine, with a demonstration
      lml layout import hall.json       read a venue's seating plan
      lml event create --help           sell it
      lml money match                   do bookings and Stripe agree?
      lml audit verify                  was the audit trail tampered with?
      lml doctor                        what is wrong, and what to do about it
      lml bench                         what operations cost on this machine
    """


def main() -> None:
    """The console's entry: faults that we know are one clear line, without a trace."""
    try:
        code = lml.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except LmlError as error:
        click.echo(f"lml: {mask_secrets(error.message)}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
