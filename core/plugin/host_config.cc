#include "plugin/host_config.h"

#include <charconv>
#include <cmath>
#include <deque>
#include <iterator>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "plugin/host.h"

namespace tidegate::plugin {

struct ConfigReader::Document {
  nlohmann::json json;
  std::set<std::string> read, read_whole;
  std::deque<std::string> given;  // strings whose address was given out
  bool used = false;

  const nlohmann::json* at(std::string_view path, bool whole = false) {
    used = true;
    (whole ? read_whole : read).emplace(path);
    try {
      const nlohmann::json::json_pointer pointer{std::string(path)};
      return json.contains(pointer) ? &json.at(pointer) : nullptr;
    } catch (const nlohmann::json::exception&) {  // no pointer, or not an index
      return nullptr;
    }
  }

  void unread(const nlohmann::json& part, const std::string& path, std::vector<std::string>& out) const {
    if (read_whole.contains(path)) return;
    if (part.is_structured() && !part.empty()) {
      for (const auto& [key, value] : part.items()) {
        std::string escaped;
        for (const char c : key) c == '~' ? escaped += "~0" : c == '/' ? escaped += "~1" : escaped += c;
        unread(value, path + "/" + escaped, out);
      }
    } else if (!path.empty() && !read.contains(path)) {
      out.push_back(path);
    }
  }
};

ConfigReader::ConfigReader(const std::string& json) : document_(std::make_unique<Document>()) {
  document_->json = nlohmann::json::parse(json, nullptr, false);
  if (document_->json.is_discarded()) document_->json = nlohmann::json::object();
}
ConfigReader::~ConfigReader() = default;

bool ConfigReader::boolean(std::string_view path, bool otherwise) {
  const auto* value = document_->at(path);
  return value && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::int64_t ConfigReader::integer(std::string_view path, std::int64_t otherwise) {
  const auto* value = document_->at(path);
  return value && value->is_number_integer() ? value->get<std::int64_t>() : otherwise;
}

double ConfigReader::number(std::string_view path, double otherwise) {
  const auto* value = document_->at(path);
  return value && value->is_number() ? value->get<double>() : otherwise;
}

std::optional<std::string_view> ConfigReader::string(std::string_view path) {
  const auto* value = document_->at(path);
  if (!value || !value->is_string()) return std::nullopt;
  return document_->given.emplace_back(value->get<std::string>());
}

std::uint64_t ConfigReader::duration_ms(std::string_view path, std::uint64_t otherwise) {
  const auto* value = document_->at(path);
  if (!value) return otherwise;
  if (value->is_number()) {
    const double seconds = value->get<double>();
    return seconds >= 0 && seconds < 1e15 ? static_cast<std::uint64_t>(std::llround(seconds * 1000))
                                          : otherwise;
  }
  return value->is_string() ? parse_duration_ms(value->get_ref<const std::string&>()).value_or(otherwise)
                            : otherwise;
}

std::uint32_t ConfigReader::count(std::string_view path) {
  const auto* value = document_->at(path);
  return value && value->is_structured() ? static_cast<std::uint32_t>(value->size()) : 0;
}

std::string_view ConfigReader::key(std::string_view path, std::uint32_t index) {
  const auto* value = document_->at(path);
  if (!value || !value->is_object() || index >= value->size()) return {};
  return std::next(value->begin(), index).key();
}

std::optional<std::string> ConfigReader::json(std::string_view path) {
  const auto* value = document_->at(path, true);
  if (!value) return std::nullopt;
  return value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<ConfigReader::Section> ConfigReader::section(std::string_view path) {
  const auto* value = document_->at(path, true);
  if (!value) return std::nullopt;
  if (value->is_string()) return Section{value->get<std::string>(), "{}"};
  if (!value->is_object()) return std::nullopt;
  const auto plugin = value->find("plugin");
  if (plugin == value->end() || !plugin->is_string()) return std::nullopt;
  const auto config = value->find("config");
  return Section{plugin->get<std::string>(),
                 config == value->end() || config->is_null() ? "{}" : config->dump()};
}

bool ConfigReader::used() const noexcept { return document_->used; }

std::vector<std::string> ConfigReader::unread() const {
  std::vector<std::string> out;
  document_->unread(document_->json, "", out);
  return out;
}

std::optional<std::uint64_t> parse_duration_ms(std::string_view text) noexcept {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const double ms = unit == "ms"                  ? 1
                    : unit == "s" || unit.empty() ? 1e3
                    : unit == "m"                 ? 60e3
                    : unit == "h"                 ? 3600e3
                                                  : 0;
  if (ms == 0 || number * ms > 1e18) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(number * ms));
}

namespace {

ConfigReader* reader(const tg_host* host) { return InstanceHost::of(host).config(); }

tg_status write_out(tg_out* out, const std::optional<std::string>& text) {
  if (!text) return TG_E_NOT_FOUND;
  if (!out || !out->write) return TG_E_INVALID;
  out->write(out, to_str(*text));
  return TG_OK;
}

bool boolean(const tg_host* host, tg_str path, bool otherwise) {
  return reader(host) ? reader(host)->boolean(view(path), otherwise) : otherwise;
}
std::int64_t integer(const tg_host* host, tg_str path, std::int64_t otherwise) {
  return reader(host) ? reader(host)->integer(view(path), otherwise) : otherwise;
}
double number(const tg_host* host, tg_str path, double otherwise) {
  return reader(host) ? reader(host)->number(view(path), otherwise) : otherwise;
}
tg_str string(const tg_host* host, tg_str path, tg_str otherwise) {
  const auto found = reader(host) ? reader(host)->string(view(path)) : std::nullopt;
  return found ? to_str(*found) : otherwise;
}
std::uint64_t duration_ms(const tg_host* host, tg_str path, std::uint64_t otherwise) {
  return reader(host) ? reader(host)->duration_ms(view(path), otherwise) : otherwise;
}
std::uint32_t count(const tg_host* host, tg_str path) {
  return reader(host) ? reader(host)->count(view(path)) : 0;
}
tg_str key(const tg_host* host, tg_str path, std::uint32_t index) {
  return reader(host) ? to_str(reader(host)->key(view(path), index)) : tg_str{nullptr, 0};
}
tg_status json(const tg_host* host, tg_str path, tg_out* out) {
  return reader(host) ? write_out(out, reader(host)->json(view(path))) : TG_E_UNAVAILABLE;
}
tg_status secret(const tg_host* host, tg_str reference, tg_out* out) {
  if (!reader(host)) return TG_E_UNAVAILABLE;
  try {
    return write_out(out, InstanceHost::of(host).environment().secret(view(reference)));
  } catch (const std::exception&) {  // a secret's file that can't be read
    return TG_E_UNAVAILABLE;
  }
}

}  // namespace

const tg_host_config config_service = {.size = sizeof(tg_host_config),
                                       .reserved = 0,
                                       .boolean = boolean,
                                       .integer = integer,
                                       .number = number,
                                       .string = string,
                                       .duration_ms = duration_ms,
                                       .count = count,
                                       .json = json,
                                       .secret = secret,
                                       .key = key};

}  // namespace tidegate::plugin
