"""`python -m MMLNRegistrationLib` is the command `mmln`."""

from .cli import main

raise SystemExit(main())
