// mirror: sends the request to the first candidate as well, discards that answer, and lets its child choose
// the rest of the plan. With `wrap`, the relayed body is put in brackets on its way.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <tidegate/plugin.hpp>

namespace {

class Mirror {
 public:
  static constexpr auto name = "mirror";
  static constexpr auto summary = "one more leg before a child's plan";
  static constexpr uint32_t flags = TG_CONCURRENT;
  static constexpr auto schema = R"({"type":"object","properties":{
      "wrap":{"type":"boolean","default":false},"child":{}}})";

  explicit Mirror(const tg::Config& config)
      : wrap_(config.boolean("/wrap", false)), child_(config.child("/child")) {}
  void pick(tg::Pick p) noexcept {
    p.add(p.candidates().front()).discard().on_failure(TG_FAILURE_IGNORE).cookie(1);
    const tg::Chosen chosen = child_.pick(p.args());
    if (!chosen.selected()) return p.take(chosen);
    for (uint32_t i = 0; i < chosen.size(); ++i) p.take(chosen.leg(i)).cookie(2 + i);
    if (wrap_) p.transform();
  }
  void transform(tg::Transform t) noexcept {
    t.write("[");
    t.write(t.data());
    t.write("]");
  }

 private:
  bool wrap_;
  tg::Child child_;
};

}  // namespace

TG_PLUGIN("mirror", "0.1.0", tg::policy<Mirror>());
