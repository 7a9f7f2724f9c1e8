#!/bin/sh
# Sets up what `make run` (argument: run) or `make test` (argument: test) needs,
# inside this folder only: .venv, local/node_modules, .local/protos. Does nothing
# when it has been done for the same lock files. POSIX sh, because no Python is known yet.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf '\nSet-up failed: %s\n' "$1" >&2
    exit 1
}

# A name on PATH proves nothing (a pyenv shim exists for versions that are not
# chosen), so every candidate is run.
works() {
    [ -n "$1" ] && "$1" -c \
        'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1
}

find_python() {
    for candidate in "$(command -v python3.13 || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3.13 \
        "$(command -v python3 || true)" "$(command -v python || true)"; do
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if command -v uv >/dev/null 2>&1; then
        candidate=$(uv python find --no-project --system 3.13 2>/dev/null || true)
        if ! works "$candidate"; then
            echo "Python 3.13 is not installed; uv brings it into .local/python." >&2
            export UV_PYTHON_INSTALL_DIR="$PWD/.local/python" UV_PYTHON_BIN_DIR="$PWD/.local/python/bin"
            uv python install 3.13 >&2 || true
            candidate=$(uv python find --no-project --system 3.13 2>/dev/null || true)
        fi
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    fi
    return 1
}

no_python() {
    fail "no working Python 3.13 found (looked for python3.13, python3 and python on PATH, in pyenv's versions, and \
by uv). Install it, for example with 'uv python install 3.13', 'pyenv install 3.13', or your system's package manager \
(on Debian with its python3.13-venv)."
}

checksum() { cat "$@" | cksum; }

done_before() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

set_up_python() {
    if ! works .venv/bin/python; then
        python=$(find_python) || no_python
        echo "Python: $python"
        rm -rf .venv
        "$python" -m venv .venv || fail "'$python -m venv .venv' did not work."
    fi
    state=$(checksum constraints.txt requirements.txt requirements-dev.txt local/requirements.txt)
    if ! done_before ".venv/.installed-$1" "$state" && ! done_before .venv/.installed-test "$state"; then
        echo "Installing Python packages into .venv …"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$2" ||
            fail "pip could not install $2; its message is above."
        echo "$state" >".venv/.installed-$1"
    fi
    state=$(checksum local/protos.txt)
    if ! done_before .local/protos/.fetched "$state"; then
        echo "Fetching the worker's messages into .local/protos …"
        .venv/bin/python -m local.protos || fail "the wheel of local/protos.txt could not be fetched."
        echo "$state" >.local/protos/.fetched
    fi
}

set_up_node() {
    state=$(checksum local/package-lock.json)
    stamp=local/node_modules/.installed
    if done_before "$stamp-$1" "$state" || done_before "$stamp-test" "$state"; then
        return
    fi
    command -v npm >/dev/null 2>&1 && node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null ||
        fail "Node.js 20 or newer, with npm, is needed for Azurite, the storage emulator. Install it from \
https://nodejs.org or your system's package manager; or set MODEL_STORAGE to the connection string of a storage \
account, and 'make run' and 'make serve' do without."
    echo "Installing Azurite into local/node_modules …"
    # shellcheck disable=SC2086 # the options are words
    (cd local && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error $2) ||
        fail "npm could not install local/package-lock.json; its message is above."
    echo "$state" >"$stamp-$1"
}

case "${1:-}" in
run)
    set_up_python run local/requirements.txt
    # With a storage of the user's own, nothing needs Azurite.
    [ -n "${MODEL_STORAGE:-}" ] || set_up_node run --omit=dev
    ;;
test)
    set_up_python test requirements-dev.txt
    set_up_node test ""
    ;;
python)
    find_python || no_python
    ;;
*)
    fail "usage: local/setup.sh run|test|python"
    ;;
esac
