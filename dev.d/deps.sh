# Debian packages, in groups: deps GROUP... installs what is missing of them. A stamp spares asking dpkg every time.

# What compiling, and the demo, need.
packages_build=(g++ cmake ninja-build ccache curl libpoco-dev libboost-dev libboost-filesystem-dev libsimdjson-dev
  libyaml-cpp-dev libxxhash-dev libcli11-dev nlohmann-json3-dev prometheus-cpp-dev)
# What the tests need above that. git: installed where this came from, but not where it came as an archive.
packages_test=(doctest-dev abigail-tools pkg-config make python3 nginx-light git)
packages_bench=(nginx-light haproxy python3)
packages_format=(clang-format-14) # the version that formatted this tree
packages_lint=(clang-tidy-16)     # 14 fails on libstdc++ 12's <ranges>

missing_packages() { # PACKAGE... -> those that are not installed
  local package
  for package; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
  done
}

apt() {
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  # Services of installed packages (nginx) are not to start: the tests start their own.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=120 "$@"
}

install_packages() { # PACKAGE...
  local log=build/logs/apt.log
  if [ -n "${TIDEGATE_NO_INSTALL:-}" ]; then
    fail "these packages are missing: $*" "install them, or run without TIDEGATE_NO_INSTALL"
  fi
  if ! command -v apt-get > /dev/null; then
    fail "these Debian packages are missing and there is no apt-get: $*" "run this on Debian 12"
  fi
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo > /dev/null; then
    fail "packages must be installed, and you are neither root nor is there sudo" \
      "as root: apt-get install --no-install-recommends $*"
  fi
  say "installing $# packages: $*"
  if apt install -y -qq --no-install-recommends "$@" > "$log" 2>&1; then return; fi
  # Package lists that are absent or old are the usual reason.
  apt update -qq >> "$log" 2>&1 || true
  apt install -y -qq --no-install-recommends "$@" >> "$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "apt-get could not install the packages (log: $log)" "is the network there, and is this Debian 12 (bookworm)?" \
      "then try again: ./dev deps"
  }
}

deps() { # GROUP...
  local group wanted=() stamp
  mkdir -p build/logs
  [ "${1:-}" != all ] || set -- build test bench format lint
  for group; do
    declare -n list="packages_$group" 2>/dev/null || fail "unknown group '$group'" "groups: build test bench format lint"
    [ ${#list[@]} -gt 0 ] || fail "unknown group '$group'" "groups: build test bench format lint"
    stamp=build/.deps-$group
    [ -z "${deps_verbose:-}" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(deps_stamp "${list[*]}")" ] && continue
    wanted+=("${list[@]}")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  local missing
  mapfile -t missing < <(missing_packages "${wanted[@]}" | sort -u)
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
  for group; do
    declare -n list="packages_$group"
    deps_stamp "${list[*]}" > "build/.deps-$group"
  done
}

# The list, and when dpkg last changed anything: a package removed by hand is noticed.
deps_stamp() { printf '%s %s\n' "$(stat -c %Y /var/lib/dpkg/status 2>/dev/null)" "$1"; }
