# Build rules shared by the whole tree: warnings, sanitizers, ccache, and tidegate_module().

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(Poco 1.11 REQUIRED COMPONENTS Foundation Net NetSSL Util)
find_package(Boost 1.74 REQUIRED)
find_package(simdjson REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
find_package(nlohmann_json REQUIRED)
find_library(XXHASH_LIBRARY xxhash REQUIRED)

# tidegate_flags: what every target of ours is compiled with.
add_library(tidegate_flags INTERFACE)
target_compile_options(tidegate_flags INTERFACE -Wall -Wextra -Wno-missing-field-initializers
  $<$<BOOL:${TIDEGATE_WERROR}>:-Werror>)
# Without vptr: to see whether an object is there it opens a pipe, and at the exhaustion of descriptors, which tests bring
# about, it takes every object for a bad one.
if(TIDEGATE_SANITIZE)
  target_compile_options(tidegate_flags INTERFACE -fsanitize=${TIDEGATE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all -fno-sanitize=vptr)
  target_link_options(tidegate_flags INTERFACE -fsanitize=${TIDEGATE_SANITIZE})
endif()

# tidegate_module(NAME [DEPS lib...] [TEST_DEPS lib...])
#   static library tidegate_NAME from *.cc of the current folder, and a doctest program NAME_test from *_test.cc.
function(tidegate_module name)
  cmake_parse_arguments(M "" "" "DEPS;TEST_DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  list(REMOVE_ITEM sources ${tests} "")
  if(sources)
    add_library(tidegate_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(tidegate_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(tidegate_${name} ${scope} ${PROJECT_SOURCE_DIR}/core ${PROJECT_SOURCE_DIR}/sdk/include)
  target_link_libraries(tidegate_${name} ${scope} tidegate_flags Threads::Threads ${M_DEPS})
  if(tests AND TIDEGATE_TESTS)
    add_executable(${name}_test ${tests} ${PROJECT_SOURCE_DIR}/tests/support/doctest_main.cc)
    target_link_libraries(${name}_test PRIVATE tidegate_${name} ${M_TEST_DEPS})
    add_test(NAME ${name} COMMAND ${name}_test)
  endif()
endfunction()
