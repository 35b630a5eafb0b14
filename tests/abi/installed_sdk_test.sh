#!/bin/sh
# The SDK as a third party meets it: installs it from BUILD_DIR into a new prefix, builds the examples there out of tree, and
# looks at what came out.
#   installed_sdk_test.sh BUILD_DIR
set -eu
build=$(realpath "${1:?usage: installed_sdk_test.sh BUILD_DIR}")
source=$(realpath "$(dirname "$0")/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

say() { echo "installed_sdk: $*"; }
fail() { echo "installed_sdk: FAILED: $*" >&2; exit 1; }

# check_exports FILE: exactly one exported symbol, no SONAME, a name of its own (no lib prefix)
check_exports() {
  found=$(nm -D --defined-only "$1" | awk '{print $NF}')
  [ "$found" = tg_plugin_v1 ] || fail "$1 exports '$found', wanted tg_plugin_v1 alone"
  ! readelf -d "$1" | grep -q SONAME || fail "$1 has a SONAME"
  say "$(basename "$1") exports tg_plugin_v1 alone"
}

cmake --install "$build" --component sdk --prefix "$prefix" > "$work/log" 2>&1 || { tail -30 "$work/log"; fail "install"; }
[ -f "$prefix/include/tidegate/plugin.h" ] || fail "no headers in $prefix/include"

say "C++ example, find_package(Tidegate)"
cp -r "$source/examples/policy_cpp" "$work/cpp"
cmake -S "$work/cpp" -B "$work/cpp/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_INSTALL_PREFIX="$prefix" \
  > "$work/log" 2>&1 || { tail -30 "$work/log"; fail "configure"; }
cmake --build "$work/cpp/build" > "$work/log" 2>&1 || { tail -30 "$work/log"; fail "build"; }
check_exports "$work/cpp/build/lib/tidegate/plugins/least_tokens.so"
readelf -p .tg_plugin "$work/cpp/build/lib/tidegate/plugins/least_tokens.so" | grep -q 'name=example-least-tokens' ||
  fail "least_tokens.so carries no .tg_plugin note"
"$work/cpp/build/least_tokens_test" || fail "the example's own test"
cmake --install "$work/cpp/build" > "$work/log" 2>&1 || { tail -30 "$work/log"; fail "install of the example"; }

pc=$(find "$prefix" -name tidegate.pc)
export PKG_CONFIG_PATH="$(dirname "$pc")"
plugins=$(pkg-config --variable=plugindir tidegate)
[ -f "$plugins/least_tokens.so" ] || fail "the example was not installed into pkg-config's plugindir, $plugins"

say "C example, pkg-config and make"
cp -r "$source/examples/policy_c" "$work/c"
make -C "$work/c" CFLAGS="-O2 -Wall -Wextra -Werror" > "$work/log" 2>&1 || { tail -30 "$work/log"; fail "build"; }
check_exports "$work/c/first_idle.so"
say "well"
