"""What `make docs` adds to the pages of docs/: a hook of MkDocs, see mkdocs.yml.

README.md becomes the front page. A file of the repository that a page links to becomes a page of
the site, and so do those that it links to. Two pages are made from what there is: every `--help`
as tests/golden/ has it, and the API, in the order of the table of library.md.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")
COMMENT = re.compile(r"^<!--.*?-->\n+", re.M | re.S)
LANGUAGES = {".py": "python", ".sh": "bash", ".toml": "toml", ".ipynb": "json", ".jsonl": "json"}
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n"
FRONT = {"README.md": "index.md"}
NAMED = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
"""What mkdocs.yml names of what is not in docs/."""
RETURNED = {
    "Epoch": "training.schedule.Held", "acm": "measure.acm.Acm",
    "evaluate": "measure.accuracy.Evaluation", "landscape": "measure.landscape.Landscape",
    "compare": "measure.comparison.Comparison", "probe": "measure.separability.Probed",
}  # fmt: skip
"""Name -> the type that it gives and that `from stkit import ...` does not have."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    for name in outside(pages):
        page = File.generated(config, place(name), content=shown(name))
        if name not in NAMED:
            page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    for name, content in (("commands.md", commands()), ("api.md", api())):
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where their targets are in the site; drop comments."""
    name, here = repository(page.file.src_uri), posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = resolved(name, match[0])
        return posixpath.relpath(place(target), here or ".") if target else match[0]

    return LINK.sub(moved, COMMENT.sub("", markdown))


def outside(pages: list[str]) -> list[str]:
    """The files and folders outside docs/ that these pages link to, and so on from there."""
    found, waiting = [*NAMED], [*pages, *NAMED]
    while waiting:
        name = waiting.pop()
        if name.endswith(".md"):
            new = {target for target in targets(name) if not target.startswith("docs/")}
            waiting += new.difference(found)
            found += sorted(new.difference(found))
    return found


def targets(name: str) -> set[str]:
    """The files and folders of the repository that one of its documents links to."""
    links = (resolved(name, link) for link in LINK.findall((ROOT / name).read_text()))
    return {target for target in links if target is not None}


def resolved(name: str, link: str) -> str | None:
    """The path in the repository of what a document links to; None: elsewhere, or nothing."""
    if "://" in link or link.startswith("/"):
        return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    return target if (ROOT / target).exists() else None


def place(name: str) -> str:
    """Where a file or folder of the repository is in the site."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if (ROOT / name).is_dir():
        return f"{name}/index.md"
    return FRONT.get(name, name if name.endswith(".md") else f"{name}.md")


def repository(uri: str) -> str:
    """The file of the repository that a page of the site is."""
    names = {page: name for name, page in FRONT.items()}
    return names.get(uri) or (f"docs/{uri}" if (ROOT / "docs" / uri).exists() else uri)


def shown(name: str) -> str:
    """The page of a file or folder outside docs/."""
    path = ROOT / name
    if path.is_dir():
        inside = sorted(each.name + "/" * each.is_dir() for each in path.iterdir())
        return f"{UNSEARCHED}# {name}/\n\n" + "".join(f"- `{each}`\n" for each in inside)
    text = path.read_text()
    if name.endswith(".md"):
        return text
    return f"{UNSEARCHED}# {name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"


def commands() -> str:
    """Every command's help."""
    helps = (ROOT / "tests/golden/help.txt").read_text()
    parted = re.split(r"^\$ (stkit.*?) *\n", helps, flags=re.M)[1:]
    made = [
        "# Help of every command\n",
        "What each says with `--help`; what all have in common is in [files.md](files.md).\n",
    ]
    for name, text in zip(parted[::2], parted[1::2], strict=True):
        made.append(f"## {name}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(made)


def api() -> str:
    """The names of `from stkit import ...` by their docstrings, grouped as library.md has them."""
    made = [
        "# API reference\n",
        "What `from stkit import ...` has, each imported when it is first used, by its docstring. "
        "How these go together is in [From Python](library.md).\n",
    ]
    for line in (ROOT / "docs/library.md").read_text().splitlines():
        row = line.strip("| ").split(" | ")
        if line.startswith("|") and (names := re.findall(r"`(\w+)`", "".join(row[1:2]))):
            group, about = (text[0].upper() + text[1:] for text in row[::2])
            made.append(f"## {group}\n\n{about}.\n")
            for name in names:
                made += [f"::: stkit.{each}\n" for each in (name, RETURNED.get(name)) if each]
    return "\n".join(made)
