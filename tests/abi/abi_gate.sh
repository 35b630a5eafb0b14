#!/bin/sh
# The ABI gate: compares the public headers with the baseline, abi-1.abi. Exit 0: the same, or members were appended.
#   abi_gate.sh [--update] [INCLUDE_DIR]    INCLUDE_DIR: sdk/include of this tree
#     --update   makes the headers the new baseline. Before the first release in the commit that explains the change; from then
#                on only when members were appended, with a new line in the history of minors in abi.h.
#
# Three checks, since each is blind to something: static asserts (offsets, constants; needs only a compiler), abi.py compare
# (names, types, signatures, order), abidiff (exit 0 when nothing changed at all; else its report explains a refusal).
set -eu
here=$(realpath "$(dirname "$0")")
update=no
if [ "${1:-}" = --update ]; then
  update=yes
  shift
fi
include=$(realpath "${1:-$here/../../sdk/include}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
baseline=$here/abi-1.abi

# look LAYOUT_DIR: the canary against the headers, as abidw sees it, into $work/new.abi
look() {
  ${CC:-cc} -std=c11 -g -fPIC -shared -I"$1" -I"$include" -iquote "$1" "$work/canary.c" -o "$work/canary.so"
  abidw --no-corpus-path --no-comp-dir-path --no-show-locs "$work/canary.so" > "$work/new.abi"
}
cp "$here/canary.c" "$work/" # so that it does not find the layout.h beside the original first
mkdir "$work/layout"

if [ $update = yes ]; then
  : > "$work/layout/layout.h"
  look "$work/layout"
  cp "$work/new.abi" "$baseline"
  python3 "$here/abi.py" asserts "$baseline" > "$here/layout.h"
  echo "abi_gate: the headers are the baseline now; say in the commit what changed and why"
  exit 0
fi

refuse() {
  echo "abi_gate: REFUSED: $1" >&2
  echo "abi_gate: members are only ever appended to structs that start with their size (abi.h, rule 2);" >&2
  echo "abi_gate: before the first release the baseline may move: abi_gate.sh --update, in the commit that explains it" >&2
  exit 1
}
cp "$here/layout.h" "$work/layout/"
look "$work/layout" 2> "$work/errors" || { grep error: "$work/errors" >&2; refuse "an offset or a constant changed"; }
abidiff "$baseline" "$work/new.abi" > "$work/report" 2>&1 && { echo "abi_gate: the same ABI"; exit 0; }
python3 "$here/abi.py" compare "$baseline" "$work/new.abi" || { cat "$work/report"; refuse "a struct changed other than at its end"; }
echo "abi_gate: members were appended"
