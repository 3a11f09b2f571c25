"""Forms for other people's code: one module each, with its `FORMAT`, all found here.

A module imports NumPy and torch only inside its functions: the command line makes its help from
these values. What they share is in `noise` and `trees` beside this folder.
"""

from importlib import import_module
from pkgutil import iter_modules

from stkit.data.exporting.values import Format

_formats: list[Format] = [
    import_module(f"{__name__}.{module.name}").FORMAT for module in iter_modules(__path__)
]
FORMATS = {form.name: form for form in sorted(_formats, key=lambda form: form.place)}
"""Every format by its name, in the order of lists."""
