// The main() of every unit test program: compiled apart so that doctest's runner is built once a program.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
