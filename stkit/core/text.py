"""Text of unknown origin, made harmless for the place where it is to be shown.

File names, class names, headers and results may hold what a terminal, a spreadsheet, a Markdown or
HTML viewer or a plotting library acts on. One function a medium; each takes the true text.
"""

import html as _html
import re
import unicodedata

_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Control characters, what turns the direction of text or has no width, halves of pairs, tags."""
_MARKED = re.compile(
    r"[&<>|`*~$]"  # entities, HTML, columns, code, emphasis, formulas
    r"|\\(?=[!-/:-@\[-`{-~])"  # what it would take out of effect
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # emphasis; within a word it is none
    r"|\](?=[(\[:])"  # a link's, an image's, a reference's
    r"|:(?=//)|(?<=www)\.|@(?=[A-Za-z]|[\w-]+\.)",  # what becomes a link or a mention by itself
    re.IGNORECASE,
)
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "''",
    "[": "{[}", "]": "{]}", "*": "{*}", "`": "{`}", "±": "$\\pm$",
}  # fmt: skip
"""What LaTeX acts on, or has no letter for; a bracket or a star where a row begins would be an
option of the end of the row before."""
_COMPUTED = re.compile("(^|;)(?=\\s*[-=+@\uff1d\uff0b\uff0d\uff20])")
"""Where a cell begins that a spreadsheet computes; the last four are those of full width."""


def plain(text: str) -> str:
    r"""Text for a terminal: on one line, in the direction and colour of the rest.

    What is unseen becomes its escape in Python, such as \\x1b, \\n or \\u202e.
    """
    return _UNSEEN.sub(lambda one: one[0].encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """A message for a terminal: `plain`, and every run of white space a space."""
    return plain(" ".join(text.split()))


def markdown(text: str) -> str:
    """Text for a cell or a line of Markdown: what has a meaning there becomes its HTML entity.

    An entity is never taken for markup, in any dialect; a backslash is, before HTML, in some.
    """
    return _MARKED.sub(lambda one: f"&#{ord(one[0])};", plain(text))


def html(text: str) -> str:
    """Text for HTML, within an element or the quotes of an attribute."""
    return _html.escape(plain(text))


def csv(text: str) -> str:
    """A text cell of CSV, quoted where it must be.

    One that begins with = + - @ (or a tab or a carriage return, which `plain` escapes) gets a
    leading apostrophe, so that a spreadsheet shows and does not compute it, as OWASP's "CSV
    Injection" recommends; likewise after a semicolon, at which cells end where the comma is the
    decimal point. Numbers are no text cells, and a lone - stands for nothing.
    """
    shown = _COMPUTED.sub(r"\1'", plain(text)) if len(text) > 1 else plain(text)
    if re.search(r"[,;\"']", shown) or shown != shown.strip():
        shown = '"' + shown.replace('"', '""') + '"'
    return shown


def latex(text: str) -> str:
    """Text for a paragraph or a cell of LaTeX, in any of its fonts' encodings.

    ± and signs before numbers are set as in formulas; accents are joined to their letters, hyphens
    and quotes are not to one another.
    """
    joined = unicodedata.normalize("NFC", plain(text))
    shown = "".join(_LATEX.get(letter, letter) for letter in joined)
    shown = re.sub("-(?=-)", "-{}", shown)
    return re.sub(r"(?<![\w.])([-+])(?=\d)", r"$\1$", shown)


def json(text: str) -> str:
    """JSON in ASCII, which no terminal acts on and no encoding lacks; its values are the same.

    text: JSON on one line, where only strings hold other characters.
    """
    return re.sub("[^ -~]", _escaped, text)


def _escaped(one: re.Match[str]) -> str:
    units = one[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def figure(text: str) -> str:
    """Text for matplotlib, which takes what stands between two dollar signs for a formula."""
    return plain(text).replace("$", r"\$")
