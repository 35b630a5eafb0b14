// What: an instance's configuration as tg.host.config/1 reads it: values by JSON pointer,
//   durations, and which members nobody read.
// Threads: [control].
// Ownership: owns the document and the strings that it gave out.
// Errors: a value that is missing or of another type is the caller's default. A malformed document
//   is empty.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tidegate::plugin {

class ConfigReader {
 public:
  explicit ConfigReader(const std::string& json);
  ~ConfigReader();

  bool boolean(std::string_view path, bool otherwise);
  std::int64_t integer(std::string_view path, std::int64_t otherwise);
  double number(std::string_view path, double otherwise);
  std::optional<std::string_view> string(std::string_view path);  // good while the reader lives
  std::uint64_t duration_ms(std::string_view path, std::uint64_t otherwise);
  std::uint32_t count(std::string_view path);
  std::string_view key(std::string_view path, std::uint32_t index);  // good while the reader lives
  std::optional<std::string> json(std::string_view path);            // marks the whole part as read
  // A {plugin, config} section, or a plugin's name alone.
  struct Section {
    std::string plugin, config;
  };
  std::optional<Section> section(std::string_view path);

  bool used() const noexcept;
  std::vector<std::string> unread() const;  // JSON pointers of leaves, document order

 private:
  struct Document;
  std::unique_ptr<Document> document_;
};

// One number and one unit of ms, s, m, h ("250ms"); a bare number is seconds.
std::optional<std::uint64_t> parse_duration_ms(std::string_view text) noexcept;

}  // namespace tidegate::plugin
