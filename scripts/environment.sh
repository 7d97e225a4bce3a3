# Sourced by the scripts: finds a Python and keeps .venv up to date. Works in bash 3.2 and later.

# Prints a Python 3.11+ that can make virtual environments; says what is missing when there is none.
find_python() {
    local name without_venv=""
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$name"
            return
        fi
        without_venv="$name"
    done
    if [[ -n "$without_venv" ]]; then
        echo "$without_venv lacks the venv module: install it (Debian, Ubuntu: the package python3-venv)." >&2
    else
        echo "Python 3.11 or later is needed, and none is on PATH." >&2
    fi
    return 1
}

# Makes sure that .venv, or the folder named, holds potoserver with the extras named (separated by commas, or empty).
prepare_environment() {
    local python="${2:-.venv}/bin/python"
    if ! "$python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python="$(find_python)" || exit 1
    fi
    "$python" scripts/environment.py "$@"
}

# Makes sure of the browsers and of nginx where that needs nobody's leave: as root, on Debian. Elsewhere, without
# one, the tests that want it say why they don't run. "long" asks for WebKit, too.
prepare_programs() {
    prepare_program Chromium "chromium chromium-browser google-chrome" chromium fonts-dejavu-core
    prepare_program nginx nginx nginx-light
    [[ "$1" == long ]] || return 0
    prepare_program Firefox "firefox-esr firefox" firefox-esr
    prepare_program WebKit WebKitWebDriver webkit2gtk-driver xvfb
}

# Makes sure of one: its name, what it may be called on PATH, its packages.
prepare_program() {
    local name="$1" program
    for program in $2; do
        command -v "$program" >/dev/null && return
    done
    shift 2
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null && grep -qsx ID=debian /etc/os-release || return 0
    echo "Installing $name for the tests; this takes a minute, once." >&2
    # RUNLEVEL: no service is started, as nginx would be on port 80 (invoke-rc.d(8)).
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq && apt-get install -qq --no-install-recommends "$@" >/dev/null ||
        echo "$name could not be installed." >&2
}
