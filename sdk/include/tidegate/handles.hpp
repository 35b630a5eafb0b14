// tidegate/handles.hpp - what a host hands out: metrics, timers, text of unknown length.
//
// What      Metric and Timer come from tg::Host; Collect gives a host something to write into.
// Threads   Metric: [any], hot. Timer: [control]. Collect: one thread.
// Ownership A Metric and a Timer are valid until the instance's destructor has returned.
// Errors    Metrics and timers that the host does not offer do nothing.
#pragma once
#include "basics.hpp"

namespace tg {

// A metric of this instance; a default-made one does nothing.
class Metric {
 public:
  Metric() noexcept = default;
  Metric(const tg_host* host, const tg_host_metrics* table, tg_metric id) noexcept
      : host_(host), table_(table), id_(id) {}
  void add(double by = 1) const noexcept {  // counters and gauges
    if (table_) table_->add(host_, id_, by);
  }
  void set(double to) const noexcept {  // gauges
    if (table_) table_->set(host_, id_, to);
  }
  void observe(double value) const noexcept {  // histograms
    if (table_) table_->observe(host_, id_, value);
  }

 private:
  const tg_host* host_ = nullptr;
  const tg_host_metrics* table_ = nullptr;
  tg_metric id_ = 0;
};

// Cancels its timer when it goes. [control]
class Timer {
 public:
  Timer() noexcept = default;
  Timer(const tg_host* host, const tg_host_control* table, uint64_t id) noexcept
      : host_(host), table_(table), id_(id) {}
  Timer(Timer&& other) noexcept : Timer(other.host_, other.table_, std::exchange(other.id_, 0)) {}
  Timer& operator=(Timer&& other) noexcept {
    std::swap(host_, other.host_), std::swap(table_, other.table_), std::swap(id_, other.id_);
    return *this;
  }
  ~Timer() {
    if (id_) table_->cancel(host_, id_);
  }
  explicit operator bool() const noexcept { return id_ != 0; }

 private:
  const tg_host* host_ = nullptr;
  const tg_host_control* table_ = nullptr;
  uint64_t id_ = 0;
};

// Collects what a host writes, for results of unknown length. Not movable: the host holds its address.
class Collect {
 public:
  Collect() noexcept = default;
  Collect(const Collect&) = delete;
  Collect& operator=(const Collect&) = delete;
  tg_out* sink() noexcept { return &out_.base; }
  // The text; Error TG_E_LIMIT when memory ran out while collecting.
  std::string take() {
    if (out_.lost) throw Error(TG_E_LIMIT, "", "no memory for the host's answer");
    return std::move(out_.text);
  }

 private:
  struct Sink {
    tg_out base{sizeof(tg_out), 0, &Sink::write};
    std::string text;
    bool lost = false;
    static void write(tg_out* out, tg_str piece) noexcept {
      auto* self = reinterpret_cast<Sink*>(out);  // base is the first member of a standard-layout struct
      try {
        self->text.append(view(piece));
      } catch (...) {
        self->lost = true;
      }
    }
  } out_;
};

}  // namespace tg
