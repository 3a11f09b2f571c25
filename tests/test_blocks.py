"""Documents are followed to the letter, and what they say to do in small is done."""

import pytest
from blocks import blocks, follow

DOCUMENT = """
<!-- in small: cifar10 -> digits; 500 -> 20 -->

```sh
for name in a b; do
  stkit data cifar10 --limit 500 -o "$name.safetensors" --json | tee "$name.json"
done
```

<!-- printed -->
```text
...
"classes":7,
```

<!-- file: note.txt -->
```
kept
```

```python
from pathlib import Path
kept = Path("note.txt").read_text()
```

<!-- not run: it would fail -->
```sh
false
```

```python
print("epoch 1 of", 24.5, kept)
```

<!-- printed -->
```text
epoch 3 of   1e-3 kept
```
"""


def test_a_document_is_followed(tmp_path, cli):
    document = tmp_path / "page.md"
    document.write_text(DOCUMENT.replace('"classes":7,\n', ""))
    follow(document, tmp_path, cli)
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"a", "b"}
    assert '"n":20' in (tmp_path / "b.json").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DOCUMENT, 'line 11: .*"classes":#,'),
        ("```sh\nstkit data digits\n```\n", "line 1: exit 2\n.*error: "),
        ("```sh\nfalse; echo more\n```\n", "line 1: exit 1\n$"),
        ("<!-- in small: b -> c -->\n```sh\ntrue\n```\n", "line 2: there is no 'b' to replace"),
        ("<!-- not run -->\n```sh\ntrue\n```\n", "line 2: why is it not run"),
        ("<!-- never run: no -->\n```sh\ntrue\n```\n", "line 2: .* are not of"),
        ("- a list\n  ```sh\n  true\n  ```\n", "a fence is indented"),
    ],
)
def test_what_does_not_hold_is_said_with_its_line(text, message, tmp_path, cli):
    document = tmp_path / "page.md"
    document.write_text(text)
    with pytest.raises(AssertionError, match=message):
        follow(document, tmp_path, cli)


def test_of_a_console_what_is_typed_is_run(tmp_path, cli):
    document = tmp_path / "page.md"
    document.write_text("```console\n$ echo a \\\n  b >made\nnot typed\n$ echo c >>made\n```\n")
    follow(document, tmp_path, cli)
    assert (tmp_path / "made").read_text() == "a b\nc\n"
    (block,) = blocks(document.read_text())
    assert (block.line, block.language) == (1, "console")
