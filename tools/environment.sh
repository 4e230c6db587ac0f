#!/bin/sh
# Installs locked requirements and this project into a virtual environment, which is created first
# if it does not exist. `make` runs it from the root of the repository:
#
#   tools/environment.sh PYTHON VENV LOCK...
#
# Every lock is complete, so pip resolves nothing (--no-deps); nothing is built from the index.
# Each failure is one sentence on stderr.
set -u
python=$1 venv=$2
shift 2

fail() {
  echo "$*" >&2
  exit 1
}

new_environment() {
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "Cannot run '$python': install Python 3.11, 3.12 or 3.13," \
      "or name an interpreter with make PYTHON=/path/to/python."
  case $version in
  3.11 | 3.12 | 3.13) ;;
  *)
    fail "'$python' is Python $version, which is not supported: install Python 3.11, 3.12 or 3.13," \
      "or name one with make PYTHON=/path/to/python."
    ;;
  esac
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "'$python' (Python $version) has no venv module: install it" \
      "(on Debian and Ubuntu: apt install python$version-venv)," \
      "or name another interpreter with make PYTHON=/path/to/python."
  "$python" -m venv "$venv" ||
    { rm -rf "$venv"; fail "'$python' cannot create the environment $venv: see the message above."; }
}

# Runs pip without a word; says why if it fails.
pip() {
  "$venv/bin/python" -m pip --disable-pip-version-check "$@" >"$log" 2>&1 && return
  if ! grep -q 'DO NOT MATCH THE HASHES' "$log" &&
    grep -Eq 'Retrying \(|(Connect|Read)Timeout|ConnectionError|ProtocolError|SSLError' "$log"
  then
    fail "Cannot install $locks into $venv: pip cannot reach a package index; connect to the" \
      "network, or name a mirror with PIP_INDEX_URL, and run make again (details: $log)."
  fi
  grep '^ERROR:' "$log" >&2
  fail "Cannot install $locks into $venv: see pip's message above (details: $log)."
}

[ -x "$venv/bin/python" ] || new_environment
log=$venv/pip.log locks=$*
for lock in "$@"; do
  pip install --quiet --no-deps --require-hashes -r "$lock"
done
pip install --quiet --no-index --no-deps --no-build-isolation -e .
"$venv/bin/python" -m pip --disable-pip-version-check check >"$log" 2>&1 ||
  fail "The packages in $venv contradict each other: remove it with make clean and run make again" \
    "(details: $log)."
