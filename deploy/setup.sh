#!/bin/sh
# Sets up everything a checkout needs: a virtual environment from the hashed lock, and, when asked,
# the MQTT broker, or all the programs the tests drive. Usage: deploy/setup.sh [venv] [broker] [programs]
# Asks for root only when something is missing; without root it names the exact command instead.
set -eu
cd "$(dirname "$0")/.."

BROKER="mosquitto"
PROGRAMS="$BROKER chromium strace"
# Devanagari for the kiosk, what the browser tests' driver is linked against, and links that lose packets.
LIBRARIES="fonts-noto-core libatomic1 nftables iproute2"

install_packages() {
    command="apt-get install -y --no-install-recommends $*"
    if ! command -v apt-get >/dev/null; then
        echo "setup: these packages are missing: $*" >&2
        exit 1
    elif [ "$(id -u)" -eq 0 ]; then
        elevate=""
    elif sudo -n true 2>/dev/null; then
        elevate="sudo"
    else
        echo "setup: some packages are missing. Run: sudo apt-get update && sudo $command" >&2
        exit 1
    fi
    echo "setup: installing $*"
    $elevate apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $elevate $command >/dev/null
}

make_venv() {
    python=$(command -v python3.11 || command -v python3 || true)
    if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "setup: Python 3.11 or newer is needed. Run: sudo apt-get install python3" >&2
        exit 1
    fi
    # Debian ships venv without ensurepip unless python3-venv is there.
    "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    echo "setup: installing the locked packages into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --config-settings editable_mode=compat -e .
    touch .venv/ready
}

# need "programs" "libraries": installs those that are not there.
need() {
    missing=""
    for program in $1; do
        PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing="$missing $program"
    done
    for library in $2; do
        if command -v dpkg >/dev/null && ! dpkg -s "$library" >/dev/null 2>&1; then missing="$missing $library"; fi
    done
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install_packages $missing
}

for part in "$@"; do
    case "$part" in
        venv) make_venv ;;
        broker) need "$BROKER" "" ;;
        programs) need "$PROGRAMS" "$LIBRARIES" ;;
        *) echo "setup: unknown part '$part'; use venv, broker or programs" >&2; exit 2 ;;
    esac
done
