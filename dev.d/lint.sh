# clang-format and clang-tidy. Formatted by hand, and therefore left alone: the contract's headers (tables of functions with
# their rules beside them) and C files. tests/abi/layout.h is generated.

own_files() { git ls-files -co --exclude-standard -- '*.cc' '*.h' '*.hpp' | grep -vE '^sdk/include/|^tests/abi/layout\.h$'; }

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

lint_tree() { # [--changed]
  local files db=build/lint
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
  export db
  printf '%s\0' "${known[@]}" | xargs -0 -P "$(jobs)" -I{} bash -c '
    out=$(clang-tidy-16 -p $db --quiet "{}" 2>/dev/null) || { printf "%s\n" "$out"; exit 1; }' || {
    say "-> mend them, or say NOLINT(check) with the reason beside it"
    return 1
  }
}
