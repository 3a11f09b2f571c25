"""The command line: one module a command, and `main`, which runs them."""

from stkit.cli.app import app, main

__all__ = ["app", "main"]
