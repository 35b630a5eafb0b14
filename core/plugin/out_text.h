// What: a tg_out that gathers what a plugin writes, up to a limit.
// Threads: that of the call that gets it.
// Ownership: owns the text.
// Errors: more than the limit is cut off; whole() tells.
#pragma once

#include <cstddef>
#include <string>

#include <tidegate/abi.h>

namespace tidegate::plugin {

class OutText {
 public:
  explicit OutText(std::size_t limit = std::size_t{64} << 20) : limit_(limit) {
    abi_.size = sizeof(tg_out);
    abi_.write = write;
    abi_.self = this;
  }
  OutText(const OutText&) = delete;
  OutText& operator=(const OutText&) = delete;

  tg_out* abi() noexcept { return &abi_; }
  const std::string& text() const noexcept { return text_; }
  bool whole() const noexcept { return whole_; }

 private:
  struct Abi : tg_out {
    OutText* self;
  };
  static void write(tg_out* out, tg_str piece) {
    OutText& self = *static_cast<Abi*>(out)->self;
    if (piece.len > self.limit_ - self.text_.size()) {
      self.whole_ = false;
      return;
    }
    if (piece.len) self.text_.append(piece.ptr, piece.len);
  }

  const std::size_t limit_;
  std::string text_;
  bool whole_ = true;
  Abi abi_{};
};

}  // namespace tidegate::plugin
