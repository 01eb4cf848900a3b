#!/bin/sh
# `make setup`: finds a Python that the project can use and lets deploy/environment.py do the rest.
# THOR_PYTHON=/path/to/python chooses one; THOR_EXTRA=gpu builds the environment for NVIDIA GPUs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

is_usable() {
    "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1
}

for python in ${THOR_PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
    if is_usable "$python"; then
        exec "$python" "$here/environment.py" "$@"
    fi
done

if [ -n "${THOR_PYTHON:-}" ]; then
    echo "setup: THOR_PYTHON=$THOR_PYTHON is not a Python 3.11 to 3.14 that runs here." >&2
else
    echo "setup: no Python 3.11 to 3.14 found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv)," >&2
    echo "       or name it: THOR_PYTHON=/path/to/python3.12 make setup" >&2
fi
exit 2
