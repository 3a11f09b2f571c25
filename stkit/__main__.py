"""`python -m stkit` and `torchrun -m stkit`."""

from stkit.cli import main

raise SystemExit(main())
