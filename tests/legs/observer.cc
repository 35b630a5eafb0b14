// observer: picks the first candidate and tells the engine in headers what a policy gets to see:
//   X-Key: the routing key.  X-Spans: role:bytes of each span.  X-Table: what its table holds, the number of
//   picks that it had learned of when the table was built (each pick remembers one; learning asks for a new
//   table).
// Its configuration's `most` is the number of workers that it can build a table for.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <string>

#include <tidegate/plugin.hpp>

namespace {

class Observer {
 public:
  static constexpr auto name = "observer";
  static constexpr auto summary = "tells what a policy sees";
  static constexpr uint32_t flags = TG_CONCURRENT | TG_NEED_KEY | TG_NEED_PROMPT;
  static constexpr auto schema =
      R"({"type":"object","properties":{"most":{"type":"integer","default":1000}}})";
  struct Table {
    uint64_t learned;
  };

  explicit Observer(const tg::Config& config) : most_(static_cast<uint32_t>(config.integer("/most", 0))) {}

  Table build(tg::Snapshot snapshot) {
    if (snapshot.count() > most_) throw tg::Error(TG_E_LIMIT, "/most", "more workers than it can build for");
    return {learned_};
  }
  bool learn(std::span<const tg_record> records) noexcept {
    for (const tg_record& record : records)
      if (const auto* one = tg::record_as<uint64_t>(record)) learned_ += *one;
    return true;
  }
  void pick(tg::Pick p, const Table& table) noexcept {
    char spans[256];
    size_t used = 0;
    for (const tg_span& span : p.spans())
      used += static_cast<size_t>(std::snprintf(spans + used, sizeof spans - used, "%u:%.*s ", span.role,
                                                static_cast<int>(std::min<size_t>(span.bytes.len, 40)),
                                                span.bytes.ptr));
    p.select(p.candidates()[0])
        .headers(p.edits(3)
                     .set("X-Key", p.key())
                     .set("X-Spans", p.copy({spans, used}))
                     .set("X-Table", p.number(table.learned)));
    p.remember(uint64_t{1});
  }
  void describe(tg::Out out) const { out.write("{\"learned\":" + std::to_string(learned_) + "}"); }

 private:
  uint32_t most_;
  uint64_t learned_ = 0;
};

}  // namespace

TG_PLUGIN("observer", "0.1.0", tg::policy<Observer>());
