// What: YAML files to one Node tree: a file plus conf.d/*.yaml beside it in name order (maps merge, lists
// append, a later
//       scalar wins; of the top-level list `routes` a later file's entries come first), ${ENV} filled in,
//       `file:` secrets.
// Threads: no shared state; reads the environment, so no thread may change that meanwhile. Control plane
// only. Ownership: everything is returned by value. Errors: collected in Diagnostics with file:line:column;
// on an error the tree is what could be read. Duplicate keys, tabs,
//         unfit tags, merge keys, alias bombs, depth over 64 and over 16 MiB are errors. Nothing is thrown.
#pragma once

#include <string>
#include <string_view>

#include "config/node.h"

namespace tidegate::config {

struct Document {
  Node root;  // a map, also for an empty file
  Diagnostics diagnostics;
};

// The file and its conf.d/*.yaml, merged and expanded.
Document load_document(const std::string& path);

// One text, as if it were the file `name`; expanded. JSON is accepted too, being YAML.
Document parse_document(std::string_view text, const std::string& name);

// Merges `later` over `base` by the rules above.
void merge_documents(Node& base, Node later, Diagnostics& diagnostics);

// Fills in ${NAME}, ${NAME:-default} ("$${" stands for "${") in every scalar; an unset name is an error.
void expand_environment(Node& node, Diagnostics& diagnostics);

// A secret's value: `file:/path` is read (without its last line end, at most 64 KiB), anything else stands
// for itself.
struct SecretResult {
  bool ok = false;
  std::string value;
  std::string error;  // names the file and the reason, never the content
};
SecretResult resolve_secret(std::string_view reference);

}  // namespace tidegate::config
