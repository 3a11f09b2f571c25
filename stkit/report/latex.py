"""Tables as LaTeX, in the form of papers: booktabs, rows of one poison together.

The text compiles as it is between the lines of a document that loads `booktabs`, and `graphicx`
where a table may be wider than a column: it is made smaller then, as far as it must be.
"""

import re
from collections.abc import Sequence

from stkit.core import text
from stkit.report.tables import Table

COLUMN, GAP = 45, 2
"""Letters in a column of a paper that has two, and in the space between two of a table's."""
FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
BEYOND = re.compile("[^\0-\u024f\u2000-\u20cf]")
"""Neither Latin letters nor punctuation, which are all that pdfLaTeX is sure to have."""
LETTERS = "% some letters may want LuaLaTeX or XeLaTeX, and a font that has them"


def latex(tables: Sequence[Table], notes: Sequence[str], *, with_anchors: bool) -> str:
    """The tables, one float each, with the notes in small lines below each.

    notes: where published numbers come from, and why others are not there.
    """
    made = "\n\n".join(_table(table, notes, with_anchors) for table in tables if table.rows)
    packages = "booktabs,graphicx" if FIT in made else "booktabs"
    head = [f"% \\usepackage{{{packages}}} in the preamble"]
    if BEYOND.search(made):
        head.append(LETTERS)
    return "\n".join(head) + f"\n\n{made}"


def _table(table: Table, notes: Sequence[str], with_anchors: bool) -> str:
    count = len(table.labels)
    rows = [
        [*labels, *(g.text(with_anchors=with_anchors) if g else "--" for g in groups)]
        for labels, groups in table.rows
    ]
    lines = [_line(table.heads), "\\midrule"]
    before = ""
    for row in rows:
        same = count > 1 and before == row[0]
        if before and count > 1 and not same:
            lines.append("\\addlinespace")
        lines.append(_line(["" if same else row[0], *row[1:]]))
        before = row[0]
    body = "\n".join(f"    {line}" for line in lines)
    wide = _width([table.heads, *rows]) > COLUMN
    title = text.latex(table.title)
    return (
        f"\\begin{{table}}\n  \\centering\n  \\caption{{{title}}}\n  \\smallskip\n"
        + (f"  {FIT}\n" if wide else "")
        + f"  \\begin{{tabular}}{{{'l' * len(table.heads)}}}\n    \\toprule\n{body}\n"
        f"    \\bottomrule\n  \\end{{tabular}}{'}' if wide else ''}{_below(notes)}\n\\end{{table}}"
    )


def _line(values: Sequence[str]) -> str:
    shown = (text.latex(value) if value != "--" else value for value in values)
    return " & ".join(shown) + " \\\\"


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Letters side by side in the widest row that there could be."""
    return sum(max(map(len, column)) + GAP for column in zip(*rows, strict=True)) - GAP


def _below(notes: Sequence[str]) -> str:
    """The notes, each a paragraph as wide as the table's column."""
    if not notes:
        return ""
    lines = " \\par\n    ".join(map(text.latex, notes))
    return (
        "\\par\\smallskip\n  \\begin{minipage}{\\linewidth}\\footnotesize\\raggedright\n"
        f"    {lines}\n  \\end{{minipage}}"
    )
