#include "plugin/library_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tidegate::plugin {
namespace {

std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

std::int64_t modified_ns(const struct stat& s) noexcept {
  return s.st_mtim.tv_sec * std::int64_t{1'000'000'000} + s.st_mtim.tv_nsec;
}

std::optional<Refusal> check_trust(const std::string& path, const struct stat& s, const std::string& about) {
  if (s.st_uid != 0 && s.st_uid != ::geteuid())
    return Refusal{about + ": expected " + path + " to be owned by root or by uid " +
                       std::to_string(::geteuid()) + ", found owner uid " + std::to_string(s.st_uid) +
                       "; chown it or install it as root",
                   ""};
  if (s.st_mode & (S_IWGRP | S_IWOTH))
    return Refusal{about + ": expected " + path + " to be writable by its owner only, found mode " +
                       octal(s.st_mode) + "; run: chmod go-w " + path,
                   ""};
  return std::nullopt;
}

// Who may write a directory may put others into it, unless its sticky bit leaves them to their owners. So
// each one that the path leads through is looked at, also behind symbolic links.
std::optional<Refusal> check_way(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path whole = fs::absolute(given, error);
  std::vector<fs::path> left;  // the next one last
  const auto push = [&left](const fs::path& path) {
    const std::vector<fs::path> parts(path.begin(), path.end());
    left.insert(left.end(), parts.rbegin(), parts.rend());
  };
  push(whole);
  fs::path at = "/";
  for (int links = 0; !left.empty();) {
    const fs::path part = left.back();
    left.pop_back();
    if (part == "/") at = part;
    if (part == "/" || part == "." || part.empty()) continue;
    if (part == "..") {
      at = at.parent_path();
      continue;
    }
    struct stat s {};
    if (::stat(at.c_str(), &s) == 0 && (s.st_mode & (S_IWGRP | S_IWOTH)) && !(s.st_mode & S_ISVTX))
      return Refusal{given +
                         ": expected every directory on the way to be writable by its owner only, found " +
                         at.string() + " with mode " + octal(s.st_mode) + "; run: chmod go-w " + at.string(),
                     ""};
    const fs::path next = at / part;
    const fs::path target = fs::read_symlink(next, error);
    if (error || ++links > 40)
      at = next;
    else
      push(target);
  }
  return std::nullopt;
}

Outcome<std::string> read_all(const std::string& path, int descriptor, std::size_t size) {
  std::string content(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n = ::pread(descriptor, content.data() + have, size - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Refusal{path + ": expected " + std::to_string(size) + " readable bytes, found " +
                         std::to_string(have) +
                         (n < 0 ? std::string(" and ") + std::strerror(errno) : std::string()) +
                         "; is it being written just now?",
                     ""};
    have += static_cast<std::size_t>(n);
  }
  return content;
}

// A look at the names in the file, so that a library that is no plugin is not loaded (loading runs its code).
std::optional<Refusal> check_content(const std::string& path, std::string_view content) {
  if (content.substr(0, 4) != std::string_view("\x7f"
                                               "ELF"))
    return Refusal{path +
                       ": expected an ELF shared library, found a file of another format; build it with "
                       "tidegate_add_plugin()",
                   ""};
  constexpr std::string_view prefix = "tg_plugin_v";
  std::string foreign;
  for (std::size_t at = content.find(prefix); at != content.npos; at = content.find(prefix, at + 1)) {
    const std::size_t digits = at + prefix.size();
    std::size_t end = digits;
    while (end < content.size() && content[end] >= '0' && content[end] <= '9') ++end;
    if (end == digits || end >= content.size() || content[end] != '\0') continue;
    const std::string major(content.substr(digits, end - digits));
    if (major == std::to_string(TG_ABI_MAJOR)) return std::nullopt;
    foreign = major;
  }
  if (!foreign.empty())
    return Refusal{
        path + ": expected the entry symbol tg_plugin_v1, found tg_plugin_v" + foreign +
            ": it is built for plugin ABI " + foreign +
            ", this gateway speaks 1; rebuild it against an SDK of ABI 1 or use a gateway that speaks " +
            foreign,
        ""};
  return Refusal{
      path +
          ": expected the entry symbol tg_plugin_v1, found none; this is no Tidegate plugin, or it "
          "was built without tidegate_add_plugin() and TG_EXPORT",
      ""};
}

}  // namespace

PluginFile::PluginFile(PluginFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      identity_(other.identity_) {}

PluginFile::~PluginFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string PluginFile::name_by_descriptor() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor_);
}

bool PluginFile::still_there() const noexcept {
  struct stat s {};
  return ::stat(path_.c_str(), &s) == 0 && s.st_dev == identity_.device && s.st_ino == identity_.inode &&
         static_cast<std::uint64_t>(s.st_size) == identity_.size && modified_ns(s) == identity_.modified_ns;
}

Outcome<PluginFile> PluginFile::inspect(const std::string& given) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(given, error).string();
  if (error == std::errc::no_such_file_or_directory)
    return Refusal{given + ": expected a plugin library, found no such file; check the name and plugins.path",
                   ""};
  const int descriptor = error ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return Refusal{given + ": expected a readable plugin library, found: " +
                       (error ? error.message() : std::string(std::strerror(errno))) +
                       "; check its permissions",
                   ""};
  PluginFile file(path, descriptor);
  struct stat s {};
  struct stat directory {};
  const std::string parent = std::filesystem::path(path).parent_path().string();
  if (::fstat(descriptor, &s) != 0 || ::stat(parent.c_str(), &directory) != 0)
    return Refusal{
        path + ": expected to read its attributes, found: " + std::strerror(errno) + "; check " + parent, ""};
  if (!S_ISREG(s.st_mode))
    return Refusal{path + ": expected a regular file, found something else; name the library itself", ""};
  if (auto refused = check_trust(path, s, path)) return *std::move(refused);
  if (auto refused = check_trust(parent, directory, path)) return *std::move(refused);
  if (auto refused = check_way(given)) return *std::move(refused);

  auto content = read_all(path, descriptor, static_cast<std::size_t>(s.st_size));
  if (!content) return content.refusal();
  if (auto refused = check_content(path, *content)) return *std::move(refused);
  file.identity_ = {.device = s.st_dev,
                    .inode = s.st_ino,
                    .size = static_cast<std::uint64_t>(s.st_size),
                    .content_hash = std::hash<std::string_view>()(*content),
                    .modified_ns = modified_ns(s)};
  return Outcome<PluginFile>(std::move(file));
}

}  // namespace tidegate::plugin
