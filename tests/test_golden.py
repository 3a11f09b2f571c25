"""Nothing changes for users by accident: files, helps and reports are those of tests/golden/."""

import hashlib
import json
from importlib.metadata import version

import golden
import pytest

KNOWN = json.loads((golden.HOME / "golden.json").read_text())


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(golden.ROOT)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, dict[str, str]]:
    here = golden.machine()
    if here != KNOWN["machine"]:
        pytest.skip(f"digests are of another machine: {KNOWN['machine']}, here {here}")
    return golden.written(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", KNOWN["files"])
def test_files_are_the_same_to_the_last_bit(name: str, files) -> None:
    assert files[name] == KNOWN["files"][name]


def test_every_help_is_the_same() -> None:
    if version("typer") != KNOWN["typer"]:
        pytest.skip(f"helps are those of typer {KNOWN['typer']}")
    assert golden.helps() == (golden.HOME / "help.txt").read_text()


@pytest.mark.parametrize("form", golden.FORMATS)
def test_reports_are_the_same(form: str) -> None:
    found = golden.report(form)
    if form in golden.FORMATS[:3]:
        assert found == (golden.HOME / f"report.{form}").read_text()
    assert hashlib.sha256(found.encode()).hexdigest() == KNOWN["reports"][form]
