// What: `tidegate serve` and `tidegate check`.
// Threads: serve blocks the signals that it waits for in every thread, and waits in the calling one.
// Ownership: none.
// Errors: exit codes: 0 well, 1 could not start, 2 usage, 78 configuration; all errors on standard error.
#pragma once

namespace tidegate::cli {

// argv[0] is the command's name.
int serve_main(int argc, char** argv);
int check_main(int argc, char** argv);

}  // namespace tidegate::cli
