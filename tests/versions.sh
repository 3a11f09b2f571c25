#!/usr/bin/env bash
# The fast tests with the oldest or the newest versions that pyproject.toml admits:
#
#     bash tests/versions.sh oldest            # every lower bound becomes the version itself
#     bash tests/versions.sh newest python3.13 # an interpreter may be named
#     bash tests/versions.sh oldest python3.11 tests/core tests/cli -x   # other tests than the fast
#
# Makes a new virtual environment in a temporary folder (TMPDIR), which it removes, and leaves the
# rest to pip and its own settings: PyTorch takes several gigabytes. Warnings are no errors here:
# what stands between two versions of other packages is not ours to mend. The last lines are the
# versions and pytest's count.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?oldest or newest}
python=${2:-python3}
tests=("${@:3}")
if [ ${#tests[@]} -eq 0 ]; then # what is left out starts many processes or trains for long
  tests=(
    tests/core tests/recipes tests/data tests/models tests/measure tests/poisons tests/training
    tests/report tests/cli tests/test_golden.py tests/test_door.py tests/test_offline.py
    --deselect tests/poisons/test_ops.py::test_the_pixels_of_cifar10
  )
fi
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$python" - "$which" >"$home/constraints.txt" <<'END'
import sys
import tomllib

which = sys.argv[1]
if which not in ("oldest", "newest"):
    sys.exit(f"found {which!r}, expected oldest or newest")
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
if which == "oldest":
    print(*sorted({bound.replace(">=", "==") for bound in wanted}), sep="\n")
END
"$python" -m venv "$home/venv"
"$home/venv/bin/pip" install -q -c "$home/constraints.txt" -e '.[dev]'
code=0
"$home/venv/bin/python" -m pytest -W default -n 2 --dist loadfile "${tests[@]}" || code=$?
"$home/venv/bin/python" --version
"$home/venv/bin/pip" list --format freeze --exclude-editable |
  grep -iE '^(torch|torchvision|timm|typer|click|rich|safetensors|numpy|scikit-learn|pillow|matplotlib)=='
exit "$code"
