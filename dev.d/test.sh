# ./dev test: stages, each with its minutes; ends with the line "N passed, N failed" and its exit code.
# A stage's function prints to its log; what it counted it leaves in $counts ("passed failed"). A stage that counts nothing
# is one test itself. Stages that need a build which failed are skipped, and the failure is counted once.

all_stages=(format build unit abi e2e asan tsan fuzz lint)
quick_stages=(format build unit abi e2e)
abi_tests='^(abi|installed_sdk)'

# Adds up a ctest log: each doctest program by its cases, any other test as one. A program that failed without a failed
# case has crashed, which is a failure.
count_ctest() { # LOG
  awk '
    /^[0-9]+\/[0-9]+ Test(ing)?: / { pass = fail = 0; seen = 0 }
    /^\[doctest\] test cases:/ { gsub(/[^0-9]+/, " "); split($0, n, " "); pass = n[2]; fail = n[3]; seen = 1 }
    /^Unable to find executable/ { absent = 1; ++failed } # ctest goes on to say "Test Passed." of it
    /^Test Passed\./ { if (!absent) passed += seen ? pass : 1; absent = 0 }
    /^Test Failed\./ { passed += pass; failed += fail ? fail : 1 }
    END { print passed + 0, failed + 0 }' "$1"
}

run_ctest() { # PRESET ARGUMENT...
  local dir=build/$1 code=0
  shift
  ctest --test-dir "$dir" --output-on-failure -j "$(jobs)" --timeout "${ctest_timeout:-120}" "$@" || code=$?
  counts=$(count_ctest "$dir/Testing/Temporary/LastTest.log")
  [ $code -eq 0 ] || say "-> one alone: ctest --test-dir $dir --output-on-failure -R NAME"
  return $code
}

# Python's own unittest over tests/e2e; TIDEGATE_BUILD tells the tests which binaries to start.
run_e2e() { # PRESET [NAME_PATTERN]
  local log=build/logs/e2e-$1.out code=0 ran bad
  TIDEGATE_BUILD=$root/build/$1 TIDEGATE_PRESET=$1 python3 -m unittest discover -s tests/e2e -p "${2:-test_*.py}" > "$log" 2>&1 || code=$?
  cat "$log"
  # A test that was left out says nothing: what it needs, ./dev deps test installs.
  if grep -q '^\(OK\|FAILED\) (.*skipped=' "$log"; then
    say "-> tests were skipped; the reasons: TIDEGATE_BUILD=$root/build/$1 python3 -m unittest discover -v -s tests/e2e | grep skipped"
    code=1
  fi
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log" | tail -n 1)
  bad=$(sed -n '/^FAILED (/{s/skipped=[0-9]*//; s/expected failures=[0-9]*//; s/[^0-9]\+/ /g; p}' "$log" | tail -n 1 | awk '{for (i = 1; i <= NF; ++i) n += $i; print n + 0}')
  [ $code -eq 0 ] || [ "${bad:-0}" -gt 0 ] || bad=1
  counts="$((${ran:-0} > ${bad:-0} ? ${ran:-0} - ${bad:-0} : 0)) ${bad:-0}"
  [ $code -eq 0 ] || say "-> one alone: TIDEGATE_BUILD=$root/build/$1 python3 -m unittest discover -s tests/e2e -k NAME"
  return $code
}

has_e2e() { compgen -G 'tests/e2e/test_*.py' > /dev/null; }

stage_format() { check_format; }
stage_build() { (build_preset release); }
stage_unit() { run_ctest release -E "$abi_tests"; }
stage_abi() { run_ctest release -R "$abi_tests"; }
stage_e2e() { has_e2e || { skipped="no tests/e2e"; return 0; }; run_e2e release; }

# Build, unit tests and end-to-end tests under a sanitizer; the counts are added up.
sanitized() { # PRESET [E2E_PATTERN]
  local code=0 unit
  (build_preset "$1") || return 1
  sanitizer_environment
  ctest_timeout=600 run_ctest "$1" -E "$abi_tests|^bench" || code=1
  if has_e2e; then
    unit=$counts
    run_e2e "$1" "${2:-}" || code=1
    counts=$(awk '{ p += $1; f += $2 } END { print p, f }' <<< "$unit"$'\n'"$counts")
  fi
  return $code
}
stage_asan() { sanitized asan; }
# Without what is about numbers and descriptors, which ThreadSanitizer's pace only makes long: files named test_race_*.py are
# the subset that runs many loops, membership changes and reloads; without such files all of them run.
stage_tsan() {
  if compgen -G 'tests/e2e/test_race*.py' > /dev/null; then sanitized tsan 'test_race*.py'; else sanitized tsan; fi
}

# Each fuzzer takes a number of seconds and ends with 0 when its oracle was content.
stage_fuzz() {
  local fuzzer found=0
  [ -d tests/fuzz ] || { skipped="no tests/fuzz"; return 0; }
  (build_preset asan) || return 1
  sanitizer_environment
  for fuzzer in build/asan/bin/*_fuzz build/asan/tests/fuzz/*_fuzz; do
    [ -x "$fuzzer" ] || continue
    found=$((found + 1))
    say "$fuzzer"
    timeout 300 "$fuzzer" --seconds "${TIDEGATE_FUZZ_SECONDS:-60}" --crash "build/logs/$(basename "$fuzzer")-crash.bin" || {
      say "-> what it printed reproduces it"
      counts="$((found - 1)) 1"
      return 1
    }
  done
  counts="$found 0"
  [ $found -gt 0 ] || skipped="no fuzzer was built"
}
stage_lint() {
  [ -f .clang-tidy ] || { skipped="no .clang-tidy"; return 0; }
  lint_tree --changed
}

needs() { # STAGE -> the stage that it stands on
  case $1 in unit | abi | e2e | lint) say build ;; fuzz) say asan ;; esac
}

run_stage() { # NAME; adds to passed and failed
  local name=$1 log=build/logs/test-$1.log start code=0 counts='' skipped='' note
  start=$(date +%s)
  "stage_$name" > "$log" 2>&1 || code=$?
  [ -n "$counts" ] || counts=$([ $code -eq 0 ] && say 1 0 || say 0 1)
  [ -z "$skipped" ] || counts='0 0'
  # A stage that failed although all that it counted passed has failed itself.
  [ $code -eq 0 ] || [ "${counts#* }" -gt 0 ] || counts="${counts% *} 1"
  passed=$((passed + ${counts% *}))
  failed=$((failed + ${counts#* }))
  note="${counts% *} passed, ${counts#* } failed"
  [ -z "$skipped" ] || note="skipped: $skipped"
  printf '  %-8s %-6s %5s min   %s\n' "$name" "$([ $code -eq 0 ] && { [ -z "$skipped" ] && say ok || say -; } || say FAILED)" \
    "$(awk -v s=$(($(date +%s) - start)) 'BEGIN { printf "%.1f", s / 60 }')" "$note"
  if [ $code -eq 0 ]; then
    return 0
  fi
  broken[$name]=1
  tail -n "${TIDEGATE_LOG_LINES:-60}" "$log" | sed 's/^/    | /'
  say "    -> the whole log: $log; again: ./dev test --stage $name"
}

run_tests() {
  local stages=() name passed=0 failed=0 start
  local -A broken=()
  while [ $# -gt 0 ]; do
    case $1 in
      --quick) stages=("${quick_stages[@]}") ;;
      --stage)
        [[ " ${all_stages[*]} " == *" ${2:-} "* ]] || fail "unknown stage '${2:-}'" "stages: ${all_stages[*]}"
        stages+=("$2")
        shift ;;
      *) fail "unknown argument '$1'" "./dev help" ;;
    esac
    shift
  done
  [ ${#stages[@]} -gt 0 ] || stages=("${all_stages[@]}")
  deps build test format
  [[ " ${stages[*]} " != *' lint '* ]] || deps lint
  start=$(date +%s)
  # A stage asked for alone builds what it stands on, uncounted.
  for name in "${stages[@]}"; do
    if [ "$(needs "$name")" = build ] && [[ " ${stages[*]} " != *" build "* ]]; then build_preset release; break; fi
  done
  for name in "${stages[@]}"; do
    if [ -n "${broken[$(needs "$name")x]:-}" ] || { [ -n "$(needs "$name")" ] && [ -n "${broken[$(needs "$name")]:-}" ]; }; then
      printf '  %-8s %-6s             skipped: %s failed\n' "$name" - "$(needs "$name")"
      continue
    fi
    run_stage "$name"
  done
  printf '%s min in all\n' "$(awk -v s=$(($(date +%s) - start)) 'BEGIN { printf "%.1f", s / 60 }')"
  say "$passed passed, $failed failed"
  [ $failed -eq 0 ] && [ $passed -gt 0 ]
}
