// What: a plugin's file before it is loaded: is it one, may it be trusted, which one is it.
// Threads: [any].
// Ownership: a PluginFile owns its descriptor until keep_open().
// Errors: Refusal.
#pragma once

#include <string>

#include "plugin/library.h"

namespace tidegate::plugin {

class PluginFile {
 public:
  // Opens and checks the file: regular, owned by root or by us and written by nobody else (its directory
  // too, and, but for the sticky bit, every directory that the path leads through), ELF, with our entry
  // symbol among its names.
  static Outcome<PluginFile> inspect(const std::string& path);

  PluginFile(PluginFile&& other) noexcept;
  PluginFile& operator=(PluginFile&&) = delete;
  ~PluginFile();

  const std::string& path() const noexcept { return path_; }  // canonical
  const FileIdentity& identity() const noexcept { return identity_; }
  // False: another file has taken its place at the path, or it was written to.
  bool still_there() const noexcept;
  // /proc/<pid>/fd/N: a name that no library was loaded under before; <pid> and not `self`, so that debuggers
  // can follow it. Once a library is loaded under it, keep_open(): then N is not used again.
  std::string name_by_descriptor() const;
  void keep_open() noexcept { descriptor_ = -1; }

 private:
  PluginFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
  FileIdentity identity_;
};

}  // namespace tidegate::plugin
