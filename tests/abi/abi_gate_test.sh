#!/bin/sh
# The gate itself: lets appended members pass and refuses everything else. Each case changes a copy of the headers.
set -eu
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# try NAME WANTED FILE SED_SCRIPT   WANTED: passes, refused
try() {
  rm -rf "$work/include"
  cp -r "$here/../../sdk/include" "$work/include"
  sed -i -E "$4" "$work/include/tidegate/$3"
  if [ "$1" != unchanged ] && cmp -s "$work/include/tidegate/$3" "$here/../../sdk/include/tidegate/$3"; then
    echo "gate_test: $1: the script changed nothing in $3; mend it" && bad=1 && return
  fi
  if "$here/abi_gate.sh" "$work/include" > "$work/out" 2>&1; then found=passes; else found=refused; fi
  if [ $found = "$2" ]; then
    echo "gate_test: $1: $found"
  else
    echo "gate_test: $1: wanted $2, $found:" && cat "$work/out" && bad=1
  fi
}

append='s/^(  uint64_t ticket;.*)$/\1\n  uint64_t newest;/'
try "unchanged" passes plan.h ''
try "a member appended to a struct with a size" passes plan.h "$append"
try "a function appended to a table" passes host.h 's/^(  void \(\*rebuild\).*)$/\1\n  void (*newest)(const tg_host *);/'
try "a member inserted" refused plan.h 's/^(  uint64_t cookie;.*)$/  uint64_t newest;\n\1/'
try "two members swapped" refused plan.h 's/slot;$/first;/; s/^  uint32_t size, first;/  uint32_t slot, size;/'
try "a member removed" refused plan.h 's/^  tg_str reason;.*$//'
try "a member renamed" refused policy.h 's/prior_slot;/previous_slot;/'
try "a member of another type and the same size" refused plan.h 's/uint32_t retry_after_ms;/int32_t retry_after_ms;/'
try "the same, behind an appended member" refused plan.h "s/uint32_t time_limit_ms;/int32_t time_limit_ms;/; $append"
try "a function with one more argument" refused policy.h 's/(\*adopt\)\(void \*self, void \*previous)/\1, int more/'
try "a member appended to a struct without a size" refused plan.h 's/^(  tg_str into;.*)$/\1\n  uint64_t newest;/'
try "a constant of another value" refused abi.h 's/TG_E_LIMIT = 8/TG_E_LIMIT = 18/'
exit $bad
