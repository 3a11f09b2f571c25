"""Layouts of other people's files: one module each, with its `LAYOUT`, all found here.

A module imports NumPy and torch only inside its functions: the command line makes its help from
these values. What they share is in `noise` and `images` beside this folder.
"""

from importlib import import_module
from pkgutil import iter_modules

from stkit.data.importing.values import Layout

_layouts: list[Layout] = [
    import_module(f"{__name__}.{module.name}").LAYOUT for module in iter_modules(__path__)
]
LAYOUTS = {layout.name: layout for layout in sorted(_layouts, key=lambda layout: layout.place)}
"""Every layout by its name, in the order of lists."""
