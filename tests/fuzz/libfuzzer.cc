// The same scene under libFuzzer: build gateway_libfuzzer with clang and -fsanitize=fuzzer-no-link.
#include <cstdio>
#include <cstdlib>

#include "scene.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static tidegate::fuzz::Ground ground;
  static tidegate::fuzz::EnginePort front = tidegate::fuzz::open_port(true);
  tidegate::fuzz::Reached reached;
  try {
    tidegate::fuzz::Scene(ground, front, reached).play({data, size});
  } catch (const tidegate::fuzz::Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    std::abort();
  }
  return 0;
}
