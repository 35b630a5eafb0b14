# build_preset PRESET [TARGET...]: configures build/PRESET when that is new or its options changed, and builds.

# The same objects serve every clone and every build folder of the same options.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros

preset_options() { # PRESET -> options of cmake, one a line
  case $1 in
    # Line numbers for profiles and backtraces cost nothing at run time.
    release) printf '%s\n' -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -g1 -DNDEBUG" "-DCMAKE_C_FLAGS_RELEASE=-O2 -g1 -DNDEBUG" -DTIDEGATE_WERROR=ON ;;
    debug) printf '%s\n' -DCMAKE_BUILD_TYPE=Debug -DTIDEGATE_WERROR=ON ;;
    # -O1 keeps the instrumented tests within CI's minutes. gcc warns of things that only its instrumentation makes.
    asan) printf '%s\n' -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DTIDEGATE_SANITIZE=address,undefined ;;
    tsan) printf '%s\n' -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1" -DTIDEGATE_SANITIZE=thread ;;
    *) fail "unknown preset '$1'" "presets: release debug asan tsan" ;;
  esac
}

# How processes built with a sanitizer are to behave. Suppressions name a third party's frame and say why.
sanitizer_environment() {
  local suppressions=$root/tests/support
  export ASAN_OPTIONS=detect_stack_use_after_return=0:strict_string_checks=1:detect_leaks=1:handle_abort=1
  export UBSAN_OPTIONS=print_stacktrace=1
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=4
  export LSAN_OPTIONS=print_suppressions=0
  [ ! -f "$suppressions/tsan.supp" ] || TSAN_OPTIONS+=:suppressions=$suppressions/tsan.supp
  [ ! -f "$suppressions/lsan.supp" ] || LSAN_OPTIONS+=:suppressions=$suppressions/lsan.supp
}

build_preset() { # PRESET [TARGET...]
  local preset=$1 dir=build/$1 log=build/logs/build-$1.log options
  shift
  mapfile -t options < <(preset_options "$preset")
  [ ${#options[@]} -gt 0 ] || exit 1
  options+=("-DTIDEGATE_TESTS=${with_tests:-ON}")
  mkdir -p "$dir" build/logs
  if [ ! -f "$dir/build.ninja" ] || [ "$(cat "$dir/.options" 2>/dev/null)" != "${options[*]}" ]; then
    cmake -S . -B "$dir" -G Ninja "${options[@]}" > "$log" 2>&1 || {
      tail -n 30 "$log" >&2
      fail "cmake could not configure $dir (log: $log)" "a package is missing? ./dev deps build test" "or begin anew: rm -rf $dir"
    }
    printf '%s' "${options[*]}" > "$dir/.options"
  fi
  if ! ninja -C "$dir" --quiet -j "$(jobs)" "$@" > "$log" 2>&1; then
    grep -m1 -A40 -E '^CMake Error|^FAILED: [^b]|error:' "$log" >&2 || tail -n 40 "$log" >&2
    fail "$dir does not build (log: $log)" "mend the first error above, then: ./dev build $preset" \
      "if it speaks of files that are gone: rm -rf $dir" "if a compiler was killed, memory is short: TIDEGATE_JOBS=1 ./dev build $preset"
  fi
}

# What a running gateway needs of a build: the binary and the plugins. Tests want more packages, so a new folder is
# configured without them; one that has them keeps them.
build_programs() { # PRESET
  local plugins with_tests=OFF
  ! grep -qs TIDEGATE_TESTS=ON "build/$1/.options" || with_tests=ON
  build_preset "$1" help # configures; the target only prints
  mapfile -t plugins < <(ninja -C "build/$1" -t targets all | sed -n 's#^\(lib/tidegate/plugins/[^:]*\.so\):.*#\1#p')
  build_preset "$1" tidegate "${plugins[@]}"
}

run_bench() { # arguments of bench.py
  local select=()
  [ ! -x build/release/bin/select_bench ] || select=(--select-bench build/release/bin/select_bench)
  exec python3 tests/bench/bench.py --tools build/release/tests/bench "${select[@]}" "$@"
}
