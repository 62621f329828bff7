# Sourced by the tools here: `ensure_venv run` or `ensure_venv dev` makes .venv in the repository and installs i2i
# into it (with the development tools for `dev`), but only when something that decides on the installation changed.
# shellcheck shell=bash
# shellcheck disable=SC2034  # VENV_PYTHON and VENV_BIN are for the caller

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$REPO_ROOT/.venv"
VENV_BIN="$VENV/bin"
VENV_PYTHON="$VENV_BIN/python"

if [[ "${CI:-}" == "true" || ! -t 1 ]]; then
    export NO_COLOR=1
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

_python_is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

_find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a command - set PYTHON to a Python 3.11 or newer"
        _python_is_new_enough "$PYTHON" ||
            fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1) - i2i needs Python 3.11 or newer"
        printf '%s' "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && _python_is_new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found - install one, or name it: PYTHON=/path/to/python3 $0"
}

# A change of any of these asks for a new installation; a moved checkout breaks an editable one.
_fingerprint() {
    "$VENV_PYTHON" - "$REPO_ROOT" <<'PY'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
print(hashlib.sha256(f"{root}\n{sys.version}\n".encode() + (root / "pyproject.toml").read_bytes()).hexdigest())
PY
}

ensure_venv() {
    local kind="$1" python fingerprint target stamp="$VENV/.i2i-installed"
    if ! "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; then
        python="$(_find_python)" || exit 1
        printf 'Making .venv with %s\n' "$("$python" --version)"
        "$python" -m venv --clear "$VENV" ||
            fail "$python cannot make a virtual environment - on Debian and Ubuntu install the package python3-venv"
    fi
    _python_is_new_enough "$VENV_PYTHON" ||
        fail ".venv holds $("$VENV_PYTHON" --version 2>&1), i2i needs 3.11 or newer - remove the folder .venv and run this again"
    fingerprint="$(_fingerprint)"
    # An installation for development serves a plain run too.
    if grep -qxF -e "$fingerprint dev" -e "$fingerprint $kind" "$stamp" 2>/dev/null; then
        return
    fi
    target="$REPO_ROOT"
    [[ "$kind" == dev ]] && target="${REPO_ROOT}[dev]"
    printf 'Installing i2i into .venv (the first time this downloads PyTorch and takes minutes)\n'
    rm -f "$stamp"
    "$VENV_PYTHON" -m pip install --quiet --editable "$target" ||
        fail "the installation failed, see pip's message above - then run this again"
    printf '%s %s\n' "$fingerprint" "$kind" >"$stamp"
}
