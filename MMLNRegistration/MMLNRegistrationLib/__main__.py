"""`python -m MMLNRegistrationLib` is the command `mmln`."""

from .cli import run

run()
