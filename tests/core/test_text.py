"""Text that would run where it is shown: each medium's own way to say it."""

import csv
import html.parser
import json

import pytest

from stkit.core import text

UNSEEN = ["\x1b[31m", "\x9b31m", "a\nb", "a\rb", "\ta", "\x7f", "\0", "\u202e", "\u2066", "\u2028",
          "\u200b", "\ufeff", "\udc80", "\U000e0041"]  # fmt: skip


@pytest.mark.parametrize("name", UNSEEN)
def test_nothing_unseen_is_shown_anywhere(name: str) -> None:
    for shown in (text.plain, text.line, text.markdown, text.html, text.csv, text.figure):
        assert shown(name).isprintable()
    assert text.json(json.dumps(name, ensure_ascii=False)).isascii()


def test_escapes_are_python_s() -> None:
    assert text.plain("a\x1b[1m\n\u202e\udcff\x9b") == r"a\x1b[1m\n\u202e\udcff\x9b"
    assert text.line("two\n  lines\x1b") == r"two lines\x1b"
    assert text.figure("$x$") == r"\$x\$"


@pytest.mark.parametrize("name", ["em-sample_gray-jpeg-30_s0.json", "C:\\data\\x", "a b ± 1 (+2)",
                                  "1@1, 2@2", "Müller 写真 😀", "[ST 95.4]", "a/b.c"])  # fmt: skip
def test_ordinary_names_stay(name: str) -> None:
    assert text.plain(name) == text.line(name) == text.markdown(name) == text.html(name) == name
    assert next(csv.reader([text.csv(name)])) == [name]


@pytest.mark.parametrize("name", ["a|b", "\\|", "`x`", "[x](u)", "[x][u]", "[x]: u", "![x](u)",
                                  "<b>", "**x**", "__x__", "~~x~~", "&lt;", "$x$", "www.e.org",
                                  "http://e.org", "me@e.org", "@me", "\\*x\\*"])  # fmt: skip
def test_markdown_shows_the_text(name: str) -> None:
    shown = text.markdown(name)
    assert shown != name and html.unescape(shown) == name
    left = ("|", "`", "](", "][", "]:", "<", "**", "__", "~", "://", "$", "www.", "@", "\\|", "\\*")
    assert not [mark for mark in left if mark in shown]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+1", "@SUM(1)", " =1", "\uff1d1"])
def test_no_cell_is_computed(name: str) -> None:
    assert next(csv.reader([text.csv(name)])) == [f"'{name}"]


def test_cells_of_csv() -> None:
    assert text.csv('a,"b"') == '"a,""b"""'
    assert text.csv("a;=1;b") == '"a;\'=1;b"'
    assert text.csv("\t=1") == r"\t=1"
    assert text.csv("-") == "-" and text.csv("") == ""


def test_json_is_the_same_value() -> None:
    for value in ("é\x7f\x9b😀\u202e", "\udc80", {"\x1b": ["\n"]}):
        shown = text.json(json.dumps(value, ensure_ascii=False))
        assert json.loads(shown) == value and shown.isascii() and shown.isprintable()
