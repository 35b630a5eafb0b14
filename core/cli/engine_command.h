// What: `tidegate engine`: runs the simulated engine as a process.
// Threads: runs its loop in the calling thread and blocks SIGTERM and SIGINT in it.
// Ownership: none.
// Errors: returns the exit code: 0 ended by a signal, 1 could not listen, 2 usage.
#pragma once

namespace tidegate::cli {

// argv[0] is "tidegate engine"; options follow.
int engine_main(int argc, char** argv);

}  // namespace tidegate::cli
