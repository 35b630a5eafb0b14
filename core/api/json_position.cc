// The second, slow pass over bodies that the fast one has refused: where exactly, and why.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/body_scan.h"
#include "api/splice.h"

namespace tidegate::api {

namespace {

using nlohmann::json;

// Takes everything and keeps nothing; remembers the first error.
class Listener final : public nlohmann::json_sax<json> {
 public:
  std::size_t position = 0;
  std::string what;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception& error) override {
    position = at;
    what = error.what();
    return false;
  }
};

}  // namespace

bool locate_json_error(std::string_view body, ScanError& error) {
  Listener listener;
  if (json::sax_parse(body.begin(), body.end(), &listener)) return false;
  // The position counts bytes read: the last of them is the one that does not fit.
  error.byte = std::min(listener.position == 0 ? 0 : listener.position - 1, body.size());
  const std::string_view before = body.substr(0, error.byte);
  error.line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t last = before.rfind('\n');
  error.column = 1 + error.byte - (last == std::string_view::npos ? 0 : last + 1);
  error.code = "invalid_json";
  error.member = {};
  // What follows "parse error at line L, column C: " says what was met and what was expected; a long token is
  // cut.
  constexpr std::size_t longest = 200;
  std::string_view why = listener.what;
  const std::size_t text = why.find("syntax error");
  if (text != std::string_view::npos) why.remove_prefix(text);
  std::string shown(why.substr(0, longest));
  if (why.size() > longest) shown += "...";
  error.message = "The body is not valid JSON at line " + std::to_string(error.line) + ", column " +
                  std::to_string(error.column) + " (byte " + std::to_string(error.byte) + "): " + shown;
  return true;
}

bool valid_edit_value(std::string_view value) { return json::accept(value.begin(), value.end()); }

}  // namespace tidegate::api
