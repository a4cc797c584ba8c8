#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What has to be there before a target of the Makefile can run?
#
# usage: tools/setup.sh demo|test
#
# Puts the system packages of bindep.txt in place (without letting them start any service of the system), makes .venv,
# and installs the project with what the target needs.
# A stamp in .venv holds a hash of all that this depends on; while it fits, nothing is done.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:?usage: tools/setup.sh demo|test}
case $profile in
  demo) extras='sqlite' groups='demo' ;;
  test) extras='all' groups='dev' ;;
  *) echo "setup: unknown profile '$profile', expected 'demo' or 'test'" >&2; exit 2 ;;
esac

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# The environment holds absolute paths, so a folder that was moved needs a new one: the path is part of the hash.
fingerprint() {
  { pwd; cat pyproject.toml bindep.txt tools/setup.sh; .venv/bin/python -VV 2>/dev/null || echo none; } | sha256sum | cut -d' ' -f1
}

up_to_date() {
  local now stamp
  now=$(fingerprint)
  for stamp in ".venv/.ready-$profile" .venv/.ready-test; do  # what the checks need includes what the demonstration needs
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && return 0
  done
  return 1
}

# Prints the first interpreter that is new enough and can make a virtual environment.
find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

# Prints the packages of bindep.txt for this profile that dpkg does not have.
missing_packages() {
  local name selector
  while read -r name selector; do
    case $name in ''|'#'*) continue ;; esac
    case $selector in *test*) [ "$profile" = test ] || continue ;; esac
    case $name in python3|python3-venv) [ -z "${python:-}" ] || continue ;; esac
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | cut -c1-2)" = ii ] || printf '%s ' "$name"
  done < bindep.txt
}

install_packages() {
  local run=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      run=(sudo -n)
    else
      fail "system packages are missing and this user may not install them." "Please run:  sudo apt-get install $*" "and then the same command again."
    fi
  fi
  say "installing system packages with apt-get: $*"
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  # Packages of servers start them, which nobody asked for: the tests start servers of their own. Debian's way to keep
  # them from it is a script that says no; one that the machine has already decides instead.
  local policy=/usr/sbin/policy-rc.d
  (
    if [ ! -e "$policy" ]; then
      say "no service is started meanwhile: $policy says so, until the packages are installed"
      trap "${run[*]} rm -f $policy" EXIT
      printf '#!/bin/sh\nexit 101\n' | "${run[@]}" install -m 755 /dev/stdin "$policy"
    fi
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  )
}

if up_to_date; then
  say ".venv is up to date"
  exit 0
fi

python=$(find_python || true)
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
  read -r -a wanted <<< "$(missing_packages)"
  if [ "${#wanted[@]}" -gt 0 ]; then
    install_packages "${wanted[@]}"
    python=$(find_python || true)
  fi
fi
[ -n "$python" ] || fail "no Python 3.11 or newer with the venv module was found." \
  "Please install one (on Debian 12 and later: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3 ..."

if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1 || [ "$(.venv/bin/python -V 2>&1)" != "$("$python" -V 2>&1)" ] || [ "$(cat .venv/.place 2>/dev/null)" != "$PWD" ]; then
  say "making the virtual environment .venv with $("$python" -V) ($python)"
  rm -rf .venv
  "$python" -m venv .venv
  pwd > .venv/.place
fi

say "installing the project with the extra '$extras' and the dependency group '$groups'"
rm -f .venv/.ready-*
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install -qq --upgrade 'pip>=25.1'  # the first that knows dependency groups
.venv/bin/python -m pip install -qq --editable ".[$extras]" --group "$groups"
fingerprint > ".venv/.ready-$profile"
say "done"
