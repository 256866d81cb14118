"""The command `lml`."""

import sys

import click

import lml_live
from lml_live.cli.doctor import doctor
from lml_live.cli.events import event_group
from lml_live.cli.layouts import layout_group
from lml_live.cli.stack import serve, up, worker
from lml_live.cli.staff import staff_group
from lml_live.errors import LmlError
from lml_live.infra.config import mask_secrets

INTERRUPTED = 130
"""The shell's exit code for a program that Ctrl-C ended."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lml_live.__version__, prog_name="lml")
def lml() -> None:
    """Live seats: a seat map that everybody sees change, and holds that are all or nothing.

    \b
    Examples:
      lml up                            everything on this machine, with a demonstration
      lml layout import hall.json       read a venue's seating plan
      lml event create --help           sell it
      lml doctor                        what is wrong, and what to do about it
    """


for command in (up, serve, layout_group, event_group, staff_group, doctor, worker):
    lml.add_command(command)


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
