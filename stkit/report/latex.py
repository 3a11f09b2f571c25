"""Tables as LaTeX, in the form of papers: booktabs, rows of one poison together.

The text compiles as it is between the lines of a document that loads `booktabs`.
"""

from collections.abc import Sequence

from stkit.core import text
from stkit.report.tables import Table

HEAD = "% \\usepackage{booktabs} in the preamble"


def latex(tables: Sequence[Table], notes: Sequence[str], *, with_anchors: bool) -> str:
    """The tables, one float each, with the notes in a small line below each.

    notes: where published numbers come from, and why others are not there.
    """
    made = [_table(table, notes, with_anchors) for table in tables if table.rows]
    return "\n\n".join([HEAD, *made])


def _table(table: Table, notes: Sequence[str], with_anchors: bool) -> str:
    count = len(table.labels)
    lines = [_line(table.heads), "\\midrule"]
    before: tuple[str, ...] = ()
    for labels, groups in table.rows:
        same = count > 1 and before[:1] == labels[:1]
        if before and count > 1 and not same:
            lines.append("\\addlinespace")
        shown = ["" if same else labels[0], *labels[1:]]
        values = [g.text(with_anchors=with_anchors) if g else "--" for g in groups]
        lines.append(_line([*shown, *values]))
        before = labels
    body = "\n".join(f"    {line}" for line in lines)
    under = "".join(f"\n  \\par\\footnotesize {text.latex(note)}" for note in notes)
    return (
        f"\\begin{{table}}\n  \\centering\n  \\caption{{{text.latex(table.title)}}}\n"
        f"  \\begin{{tabular}}{{{'l' * count}{'r' * len(table.columns)}}}\n    \\toprule\n{body}\n"
        f"    \\bottomrule\n  \\end{{tabular}}{under}\n\\end{{table}}"
    )


def _line(values: Sequence[str]) -> str:
    return " & ".join(map(text.latex, values)) + " \\\\"
