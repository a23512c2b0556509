#!/bin/sh
# make_venv.sh PYTHON VERSIONS VENV LOCK: a virtual environment with exactly the packages of a lock file.
# The environment counts as ready only when everything is installed.
set -e
python=$1 versions=$2 venv=$3 lock=$4
if [ -z "$python" ]; then
    echo "No Python $versions was found. Install one, or name it: make PYTHON=/path/to/python (PYTHON_ADDONS for test-addons)." >&2
    exit 1
fi
echo "Setting up $venv with $python ..."
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$lock"
touch "$venv/.ready"
