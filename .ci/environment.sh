#!/usr/bin/env bash
# Build the project's virtual environment, unless it is up to date.
#
#   .ci/environment.sh VENV [PYTHON]
#
# Without PYTHON, the script takes the interpreter that VENV was built with. For a new VENV, it takes the first Python 3.7
# that runs, because the published numbers were measured with TensorFlow 1.15; if there is none, python3. The
# environment is up to date if its stamp names the same interpreter and holds the same requirements. The stamp is
# written last, so an interrupted installation has none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Print "VERSION PATH" of an interpreter. The interpreter is run, because a pyenv shim may have no Python behind
# it. The path is the real one, so that a shim, a link and the environment's own python give the same path.
probe() {
  "$1" -c 'import os, sys
sys.stdout.write("%d.%d.%d %s" % (sys.version_info[:3] + (os.path.realpath(sys.executable),)))' 2>/dev/null
}

# Debian has ensurepip in a package of its own, and a Python 3.7 that was built with OpenSSL 3 often lacks ssl.
can_make_environments() {
  "$1" -c 'import ensurepip, ssl, venv, zlib' 2>/dev/null
}

candidates_37() {
  echo python3.7
  printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.7*/bin/python
  if command -v uv >/dev/null; then
    UV_PYTHON_DOWNLOADS=never uv python find 3.7 2>/dev/null || true
  fi
}

# Set `version`, `python` and `reason`.
choose_python() {
  local candidate found
  if [ -n "$1" ]; then
    found=$(probe "$1") || die "PYTHON=$1 does not run; give a Python 3.7 or 3.10 to 3.13"
    reason="PYTHON=$1"
  elif [ -f "$stamp" ] && found=$(probe "$(sed -n '1s/^[^ ]* //p' "$stamp")"); then
    reason="the one that $venv was built with"
  else
    found=""
    while IFS= read -r candidate; do
      found=$(probe "$candidate") && [[ $found == 3.7.* ]] && can_make_environments "$candidate" && break
      found=""
    done < <(candidates_37)
    reason="the first Python 3.7 that runs here, for TensorFlow 1.15"
    if [ -z "$found" ]; then
      found=$(probe python3) || die "neither python3.7 nor python3 runs; name an interpreter with PYTHON="
      reason="python3, because no Python 3.7 here can make environments; TensorFlow 2.21"
    fi
  fi
  version=${found%% *}
  python=${found#* }
}

check_python() {
  case $version in
    3.7.* | 3.1[0-3].*) ;;
    3.1[4-9].*) echo "note: TensorFlow 2.21 is published for Python 3.10 to 3.13, not for $version" >&2 ;;
    *) die "$python is Python $version; TensorFlow 1.15 needs 3.7 and TensorFlow 2.21 needs 3.10 to 3.13:" \
      "name another with PYTHON=" ;;
  esac
  can_make_environments "$python" ||
    die "$python cannot make virtual environments (it lacks ensurepip, ssl, venv or zlib);" \
      "install them (Debian: python3-venv) or name another with PYTHON="
}

stamp_text() {
  printf '%s %s\n' "$version" "$python"
  cat requirements.txt requirements-dev.txt
}

is_current() {
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(stamp_text)" ] && "$venv/bin/python" -c '' 2>/dev/null
}

build() {
  # --clear empties the folder, so only an environment or an empty folder may be given.
  if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
    die "$venv holds files and is not a virtual environment; name another folder with VENV="
  fi
  local install=("$venv/bin/python" -m pip install --disable-pip-version-check)
  [ -t 1 ] || install+=(--quiet)
  echo "environment: installing requirements-dev.txt into $venv (some minutes, 2 to 3 GB of disk)"
  "$python" -m venv --clear "$venv"
  echo '*' >"$venv/.gitignore"
  # The pip of an early Python 3.7 cannot install today's wheels.
  "${install[@]}" 'pip>=20.3'
  "${install[@]}" --requirement requirements-dev.txt
  stamp_text >"$stamp.new"
  mv "$stamp.new" "$stamp"
}

venv=${1:?usage: .ci/environment.sh VENV [PYTHON]}
stamp=$venv/installed.stamp
choose_python "${2:-}"
check_python
echo "python: $python, version $version ($reason)"
is_current || build
