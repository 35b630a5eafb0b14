// merging: two legs; the first is drained and the second relayed, and what goes to the client is an object of
// both: {"first":...,"second":...}.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <string>

#include <tidegate/plugin.hpp>

namespace {

struct Merging {
  static constexpr auto name = "merging";
  static constexpr auto summary = "merges the answers of two legs";
  static constexpr uint32_t flags = TG_CONCURRENT;
  void pick(tg::Pick p) noexcept {
    p.add(p.candidates().front()).drain();
    p.add(p.candidates().back()).relay().cookie(7);
    p.transform();
  }
  void transform(tg::Transform t) noexcept {
    if (t.cookie() != 7) return t.write("a cookie of somebody else");
    t.write(R"({"first":)");
    t.write(t.earlier(0));
    t.write(R"(,"second":)");
    t.write(t.data());
    t.write("}");
  }
};

}  // namespace

TG_PLUGIN("merging", "0.1.0", tg::policy<Merging>());
