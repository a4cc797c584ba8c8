#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Do the tests pass with the oldest versions that pyproject.toml admits?
#
# usage: tools/lowest.sh UV PYTHON FOLDER [PYTEST-ARGUMENT ...]
#
# Makes a virtual environment in FOLDER with those versions and runs the unit and integration tests there, or what the
# arguments name.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1 python=$2 folder=$3
shift 3

rm -rf "$folder"
"$uv" venv --quiet --python "$python" "$folder"
export VIRTUAL_ENV=$folder
# The project's requirements are given as such, not through the project: only direct ones are taken at their lowest.
"$uv" pip install --quiet --resolution lowest-direct --requirement pyproject.toml --all-extras --group test
"$uv" pip install --quiet --no-deps .
"$uv" pip freeze | grep -iE '^(alembic|automaton|fasteners|futurist|jsonschema|msgpack|networkx|pydot|sqlalchemy|stevedore)=='
[ $# -gt 0 ] || set -- tests/unit tests/integration
"$folder/bin/python" -m pytest -q -p no:cacheprovider "$@"
