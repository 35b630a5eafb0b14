// swapper: one policy, built several times with -DBUILD=n -DBUILD_TEXT="n", for the exchange of code under
// way. Each build answers differently (it sets the header X-Build on its leg) and lays out its state and its
// table differently. A pick that meets the table of another build says so instead of reading on. The count of
// picks goes from build to build as text; instances of one build share it.
#define TG_PLUGIN_LICENSE "Apache-2.0"
#include <array>
#include <atomic>
#include <charconv>
#include <memory>
#include <string>
#include <vector>

#include <tidegate/plugin.hpp>

namespace {

constexpr std::string_view build_text = BUILD_TEXT;

// In an inline function: a unique symbol would let the builds share it.
inline std::atomic<int>& instances() {
  static std::atomic<int> count{0};
  return count;
}

class Swapper {
 public:
  static constexpr auto name = "swapper";
  static constexpr auto summary = "a policy that comes in several builds";
  static constexpr uint32_t flags = TG_CONCURRENT;
  static constexpr uint64_t state_id = BUILD;

  struct Table {
    std::array<uint32_t, 16 * BUILD> before{};
    uint32_t build = BUILD;
    std::vector<uint32_t> slots;
  };

  explicit Swapper(tg::Host host) : host_(host) { instances().fetch_add(1, std::memory_order_relaxed); }
  ~Swapper() {
    instances().fetch_sub(1, std::memory_order_relaxed);
    host_.info("swapper ends", {{tg::str("build"), tg::str(build_text)}});
  }

  Table build(tg::Snapshot snapshot) {
    Table table;
    for (uint32_t i = 0; i < snapshot.count(); ++i) table.slots.push_back(snapshot.worker(i).slot);
    return table;
  }

  void pick(tg::Pick p, const Table& table) noexcept {
    if (table.build != BUILD || table.slots.empty()) return p.fail("a table of another build");
    const uint64_t n = state_->picks.fetch_add(1, std::memory_order_relaxed);
    p.select(table.slots[n % table.slots.size()]).headers(p.edits(1).set("X-Build", build_text));
  }

  void adopt(Swapper& previous) {
    state_ = previous.state_;
    from_ = BUILD;
    shared_ = true;
  }
  // "build picks"
  void export_state(tg::Out out) const {
    out.write(std::string(build_text) + " " + std::to_string(state_->picks.load()));
  }
  void import_state(std::string_view bytes) {
    const auto end = bytes.data() + bytes.size();
    const auto [space, bad] = std::from_chars(bytes.data(), end, from_);
    uint64_t picks = 0;
    if (bad == std::errc() && space != end) std::from_chars(space + 1, end, picks);
    state_->picks = picks;
  }

  void describe(tg::Out out) const {
    out.write("{\"build\":" + std::string(build_text) + ",\"from\":" + std::to_string(from_) + ",\"picks\":" +
              std::to_string(state_->picks.load()) + ",\"instances\":" + std::to_string(instances().load()) +
              ",\"shared\":" + (shared_ ? "true}" : "false}"));
  }

 private:
  struct State {
    std::array<uint64_t, 100 * BUILD> before{};
    std::atomic<uint64_t> picks{0};
  };
  tg::Host host_;
  std::array<char, 24 * BUILD> padding_{};
  std::shared_ptr<State> state_ = std::make_shared<State>();
  int from_ = 0;         // the build whose state this one took over
  bool shared_ = false;  // not as text
};

}  // namespace

TG_PLUGIN("swapper", BUILD_TEXT ".0.0", tg::policy<Swapper>());
