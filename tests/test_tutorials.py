"""The tutorials do what they say: their blocks are run in order, in small."""

from pathlib import Path

import pytest
from blocks import follow

ROOT = Path(__file__).parents[1]
TUTORIALS = [ROOT / "docs/start.md", *sorted((ROOT / "docs/tutorials").glob("[a-z]*.md"))]


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_followed(tutorial: Path, tmp_path, cli):
    for name in ("examples", "results"):  # of the clone that a reader is in
        (tmp_path / name).symlink_to(ROOT / name)
    follow(tutorial, tmp_path, cli)
