"""A progress bar on stderr."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stkit.core import text


@contextmanager
def bar(label: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar, gone at the end, to be called with (done, total); nothing where it is not `shown`, or
    where none could be drawn anew: stderr is neither a terminal nor a notebook's."""
    if not shown:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    if not ((sys.stderr and sys.stderr.isatty()) or console.is_jupyter):
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as drawn:
        task = drawn.add_task(escape(text.plain(label)), total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)
