# clang-format and clang-tidy. Formatted by hand, and therefore left alone: the contract's headers (tables of functions with
# their rules beside them) and C files. tests/abi/layout.h is generated.

own_files() { git ls-files -- '*.cc' '*.h' '*.hpp' | grep -vE '^sdk/include/|^tests/abi/layout\.h$'; }

format_tree() { own_files | xargs -r clang-format-14 -i; }

check_format() {
  local wrong
  wrong=$(own_files | xargs -r clang-format-14 --dry-run -Werror 2>&1 | sed -n 's/^\([^: ]*\):[0-9]*:.*/\1/p' | sort -u)
  [ -z "$wrong" ] || { printf 'not formatted:\n%s\n-> ./dev fmt\n' "$wrong"; return 1; }
}

# What differs from TIDEGATE_BASE, else from the branch's origin, else the last ten commits; and what is not committed.
changed_files() {
  local base=${TIDEGATE_BASE:-} head
  head=$(git rev-parse HEAD)
  [ -n "$base" ] || base=$(git merge-base origin/main HEAD 2>/dev/null || true)
  if [ -z "$base" ] || [ "$(git rev-parse "$base")" = "$head" ]; then
    base=$(git rev-list --first-parent -n 11 HEAD | tail -n 1)
  fi
  { git diff --name-only --diff-filter=d "$base" -- '*.cc'; git ls-files --others --exclude-standard -- '*.cc'; } | sort -u
}

# Looks at files until TIDEGATE_LINT_SECONDS are over (0: no bound) and says which were not reached.
lint_tree() { # [--changed]
  local files seconds=${TIDEGATE_LINT_SECONDS:-0} db=build/lint
  if [ "${1:-}" = --changed ]; then
    mapfile -t files < <(changed_files)
  else
    mapfile -t files < <(git ls-files -- '*.cc')
  fi
  mkdir -p $db
  # clang knows most of gcc's options, but not this one.
  sed 's/ -fno-gnu-unique//g' build/release/compile_commands.json > $db/compile_commands.json
  local known=()
  local file
  for file in "${files[@]}"; do
    ! grep -qF "\"file\": \"$root/$file\"" $db/compile_commands.json || known+=("$file")
  done
  [ ${#known[@]} -gt 0 ] || { say "lint: no file to look at"; return 0; }
  rm -f $db/late
  export db seconds lint_start=$SECONDS_AT_START
  printf '%s\0' "${known[@]}" | xargs -0 -P "$(jobs)" -I{} bash -c '
    if [ "$seconds" -gt 0 ] && [ $(($(date +%s) - lint_start)) -gt "$seconds" ]; then echo "{}" >> $db/late; exit 0; fi
    out=$(clang-tidy-16 -p $db --quiet "{}" 2>/dev/null) || { printf "%s\n" "$out"; exit 1; }' || {
    say "-> mend them, or say NOLINT(check) with the reason beside it"
    return 1
  }
  [ ! -f $db/late ] || say "lint: out of time; not looked at: $(wc -l < $db/late) of ${#known[@]} files (./dev lint does all)"
}
SECONDS_AT_START=$(date +%s)
