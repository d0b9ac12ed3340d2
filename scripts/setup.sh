#!/usr/bin/env bash
# Makes the environment: system packages that are missing (when this user may install them), a virtual environment, the
# package with its development tools, the model server. `scripts/setup.sh` is enough to run; `scripts/setup.sh test` adds
# the peers that the tests talk to, `scripts/setup.sh train` PyTorch. Running it again costs nothing when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}

torch_version=2.13.0
test_packages=(dcmtk dicom3tools orthanc orthanc-dicomweb nginx-light wrk chromium rsyslog rsyslog-gnutls fiu-utils)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

install_missing() {
  command -v dpkg-query >/dev/null || { echo "setup: no Debian system; please install: $*" >&2; return 0; }
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "setup: installing ${missing[*]}"
  if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }; then
    echo "setup: could not install ${missing[*]}; install them as an administrator, then run this again" >&2
    [ "$purpose" = run ]
  fi
}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# Triton in an environment of its own, .venv/triton. Where it cannot run, everything but models works.
install_model_server() {
  local library
  library=$(.venv/bin/python -c '
import sys
from dicomsvc.ai.triton.runtime import find_python_library
print("" if find_python_library() else "libpython3.%d" % sys.version_info.minor)')
  [ -z "$library" ] || install_missing "$library"
  echo "setup: installing the model server into .venv/triton"
  if .venv/bin/dicomsvc triton install >/dev/null; then
    echo "$1" >.venv/.setup-triton
  else
    echo "setup: models will not run until the model server is there or another is configured" >&2
    [ "$purpose" = run ]
  fi
}

# The viewer that the tests open in a browser; without it they skip those.
install_viewer() {
  local folder=tests/acceptance/viewer state
  command -v npm >/dev/null || install_missing npm
  command -v npm >/dev/null || { echo "setup: no npm: the viewer is not installed, its tests are skipped" >&2; return 0; }
  state=$(sha256sum <"$folder/package-lock.json")
  [ "$(cat "$folder/node_modules/.setup" 2>/dev/null)" != "$state" ] || return 0
  echo "setup: installing the viewer into $folder/node_modules"
  npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent
  echo "$state" >"$folder/node_modules/.setup"
}

python=$(find_python)
if [ -z "$python" ]; then
  install_missing python3
  python=$(find_python)
fi
[ -n "$python" ] || { echo "setup: Python 3.11 to 3.13 is needed" >&2; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || install_missing python3-venv
install_missing libturbojpeg0
[ "$purpose" != test ] || install_missing "${test_packages[@]}"

[ -x .venv/bin/python ] || "$python" -m venv .venv
state=$(sha256sum pyproject.toml scripts/setup.sh | sha256sum)
if [ "$(cat .venv/.setup 2>/dev/null)" != "$state" ]; then
  echo "setup: installing Python packages into .venv"
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet --editable '.[dev,nlp]'
  echo "$state" >.venv/.setup
fi
state=$(sha256sum dicomsvc/ai/triton/runtime.py dicomsvc/ai/triton/install.py | sha256sum)
[ "$(cat .venv/.setup-triton 2>/dev/null)" = "$state" ] || install_model_server "$state"
[ "$purpose" != test ] || install_viewer
if [ "$purpose" = train ]; then
  state=$(sha256sum pyproject.toml scripts/setup.sh | sha256sum)
  if [ "$(cat .venv/.setup-train 2>/dev/null)" != "$state" ]; then
    echo "setup: installing PyTorch into .venv"
    # Another build of this version, say without CUDA, that is there already is kept.
    .venv/bin/python -m pip install --quiet "torch==$torch_version"
    .venv/bin/python -m pip install --quiet --editable '.[train]'
    echo "$state" >.venv/.setup-train
  fi
fi
