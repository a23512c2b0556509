#!/bin/sh
# make_venv.sh PYTHON VERSIONS VENV LOCK: a virtual environment with exactly the packages of a lock file.
# Nothing is done where it has them already: VENV/.ready is a copy of the lock file it was made from.
# The custom ops are built, too, where there is a compiler; they would be when they are first used.
set -e
python=$1 versions=$2 venv=$3 lock=$4
if cmp -s "$lock" "$venv/.ready"; then
    exit 0
fi
if [ -z "$python" ]; then
    echo "No Python $versions was found. Install one, or name it: make PYTHON=/path/to/python (PYTHON_ADDONS for test-addons)." >&2
    exit 1
fi
echo "Setting up $venv with $python ..."
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$lock"
cp "$lock" "$venv/.ready"
TF_CPP_MIN_LOG_LEVEL=3 "$venv/bin/python" -m dnnlib.tflib.ops.build --arch=here || echo "Going on without them."
