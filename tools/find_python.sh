#!/bin/sh
# Prints the first Python among: python3, and python3.X for the versions given that is one of these versions.
# Nothing is printed where there is none.
for candidate in python3 $(for v in "$@"; do echo "python$v"; done); do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    for wanted in "$@"; do
        if [ "$version" = "$wanted" ]; then
            command -v "$candidate"
            exit 0
        fi
    done
done
# Versions of pyenv that are installed but not selected.
for wanted in $(echo "$@" | tr ' ' '\n' | sort -t. -k2 -nr); do
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$wanted".*/bin/python; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            exit 0
        fi
    done
done
