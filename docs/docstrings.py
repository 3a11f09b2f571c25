"""How docstrings become pages of the API reference: an extension of Griffe, see mkdocs.yml.

In the code a paragraph says of several arguments one after the other, `size: the side. limit: so
many images.`; on a page each is an item of a list. A recipe's field is made by `setting(default,
help)`: a page has the default as its value and the help as its docstring.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import griffe

sys.path.append(str(Path(__file__).parents[1]))  # of it recipes alone are imported, without torch

LONG = 100
"""Characters of a value from which on a page is better off without it."""


class Plain(griffe.Extension):
    """Lists of arguments, and fields with their defaults and helps."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Rewrite the docstrings of the whole package, before dataclasses get their signatures."""
        for each in [*objects(pkg)]:
            if isinstance(each, griffe.Attribute) and str(each.annotation) == "ClassVar":
                each.parent.del_member(each.name)  # no field, though Griffe takes it for one
            elif isinstance(each, griffe.Attribute):
                field(each)
            elif each.docstring and (names := arguments(each)):
                paragraphs = each.docstring.value.split("\n\n")
                each.docstring.value = "\n\n".join(listed(part, names) for part in paragraphs)


def objects(within: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
    """Everything that is defined within a module or class."""
    for member in within.members.values():
        if not member.is_alias:
            yield member
            if isinstance(member, griffe.Module | griffe.Class):
                yield from objects(member)


def arguments(of: griffe.Object) -> set[str]:
    """The names of a function's arguments, or of a class's and its fields."""
    if isinstance(of, griffe.Function):
        return {parameter.name.lstrip("*") for parameter in of.parameters} - {"self", "cls"}
    if not isinstance(of, griffe.Class):
        return set()
    made = of.members.get("__init__")
    fields = {name for name, member in of.members.items() if member.is_attribute}
    return fields | (arguments(made) if isinstance(made, griffe.Function) else set())


def listed(paragraph: str, names: set[str]) -> str:
    """A paragraph with a list item where it says `name: ...` of an argument or an error."""
    if paragraph.startswith("    "):
        return paragraph
    name = rf"(?:{'|'.join(sorted(names, key=len, reverse=True))}|[A-Z]\w*Error)"
    label = rf"(?:(?<=^)|(?<=[.;:] ))({name}(?:(?:, | to ){name})*)((?: [^.:;]{{1,16}})?): "
    parted = re.split(label, " ".join(paragraph.split("\n")))
    if len(parted) == 1:
        return paragraph
    items = zip(parted[1::3], parted[2::3], parted[3::3], strict=True)
    lines = [f"- **{who}**{kind}: {what.strip()}" for who, kind, what in items]
    return "\n".join([parted[0].strip(), "", *lines]).strip()


def field(attribute: griffe.Attribute) -> None:
    """Give a recipe's field its default as value, and its help as docstring."""
    call = attribute.value
    recipe = attribute.path.startswith("stkit.recipes.")
    if recipe and isinstance(call, griffe.ExprCall) and str(call.function) == "setting":
        default, about, *_ = call.arguments
        attribute.value = default
        text = eval(str(about), vars(import_module(attribute.module.path)))
        attribute.docstring = griffe.Docstring(text, parent=attribute)
    elif len(str(call)) > LONG:
        attribute.value = None
