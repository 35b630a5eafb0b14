#include "engine/model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace {

using namespace tidegate::engine;  // NOLINT: a test reads better so
using Kind = ModelEvent::Kind;

constexpr TimeNs ms = 1'000'000;

// Round costs: a step takes 10 ms, and 1 ms more for each prefilled token.
ModelConfig round_costs() {
  return {.prefill_us_per_token = 1000,
          .decode_us_per_step = 10'000,
          .decode_us_per_token_in_batch = 0,
          .decode_us_per_context_token = 0,
          .max_batch = 4,
          .max_queue = 100,
          .max_prefill_tokens_per_step = 64};
}

ModelRequest request(std::uint64_t id, std::uint32_t prompt, std::uint32_t output, TimeNs arrival = 0) {
  return {.id = id, .prompt_tokens = prompt, .output_tokens = output, .arrival = arrival, .blocks = {}};
}

// Runs in virtual time until nothing is left; returns the events.
std::vector<ModelEvent> run(EngineModel& model, TimeNs from = 0) {
  std::vector<ModelEvent> events;
  for (TimeNs at = from; at != never;) at = model.step(at, events);
  return events;
}

std::vector<std::uint64_t> finish_order(const std::vector<ModelEvent>& events) {
  std::vector<std::uint64_t> ids;
  for (const ModelEvent& event : events)
    if (event.kind == Kind::finished) ids.push_back(event.id);
  return ids;
}

TimeNs end_of(const std::vector<ModelEvent>& events) { return events.empty() ? 0 : events.back().at; }

}  // namespace

TEST_CASE("its rate is what the last step gave, and nothing when nothing runs") {
  EngineModel model(round_costs());
  REQUIRE(model.submit(request(1, 1, 5)));
  REQUIRE(model.submit(request(2, 1, 5)));
  CHECK(model.output_rate() == 0);
  std::vector<ModelEvent> events;
  model.step(12 * ms + 10 * ms, events);  // a step with two prefilled tokens, and one that only decodes
  CHECK(model.output_rate() == 200);
  run(model, 22 * ms);
  CHECK(model.output_rate() == 0);
}

TEST_CASE("a request prefills, then gives one token a step") {
  EngineModel model(round_costs());
  REQUIRE(model.submit(request(1, 5, 3, 100 * ms)));
  const auto events = run(model);
  REQUIRE(events.size() == 4);
  CHECK(events[0].kind == Kind::first_token);
  CHECK(events[0].at == 115 * ms);
  CHECK(events[1].kind == Kind::token);
  CHECK(events[1].at == 125 * ms);
  CHECK(events[2].at == 135 * ms);
  CHECK(events[3].kind == Kind::finished);
  CHECK(events[3].tokens == 3);
  CHECK(events[3].at == 135 * ms);
}

TEST_CASE("prefill and decode share a step") {
  EngineModel model(round_costs());
  REQUIRE(model.submit(request(1, 5, 10)));
  REQUIRE(model.submit(request(2, 20, 1, 1 * ms)));
  std::vector<ModelEvent> events;
  model.step(45 * ms, events);  // step 1: 15 ms, prefill of 1; step 2: 30 ms, decode of 1 and prefill of 2
  REQUIRE(events.size() == 4);
  CHECK(events[0].id == 1);
  CHECK(events[1].id == 1);
  CHECK(events[1].at == 45 * ms);
  CHECK(events[2].id == 2);
  CHECK(events[2].kind == Kind::first_token);
  CHECK(events[2].at == 45 * ms);
}

TEST_CASE("a long prompt is prefilled over several steps within the token limit") {
  EngineModel model(round_costs());
  REQUIRE(model.submit(request(1, 150, 1)));
  const auto events = run(model);
  CHECK(model.counters().steps == 3);  // 64 + 64 + 22
  CHECK(end_of(events) == 180 * ms);
}

TEST_CASE("the batch limit is respected") {
  EngineModel model(round_costs());
  for (std::uint64_t id = 1; id <= 10; ++id) REQUIRE(model.submit(request(id, 1, 5)));
  std::vector<ModelEvent> events;
  std::size_t most = 0;
  for (TimeNs at = 0; at != never; at = model.step(at, events)) most = std::max(most, model.running());
  CHECK(most == 4);
  CHECK(model.counters().finished == 10);
}

TEST_CASE("the queue is first in, first out: a short request does not pass a long one") {
  ModelConfig config = round_costs();
  config.max_batch = 1;
  EngineModel model(config);
  REQUIRE(model.submit(request(1, 60, 9)));
  REQUIRE(model.submit(request(2, 60, 9)));
  REQUIRE(model.submit(request(3, 1, 1)));
  CHECK(finish_order(run(model)) == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("a full queue refuses and says so in the counters") {
  ModelConfig config = round_costs();
  config.max_queue = 2;
  EngineModel model(config);
  CHECK(model.submit(request(1, 1, 1)));
  CHECK(model.submit(request(2, 1, 1)));
  CHECK_FALSE(model.submit(request(3, 1, 1)));
  CHECK(model.counters().rejected == 1);
}

TEST_CASE("more load never lowers throughput and never shortens the work") {
  double last_rate = 0;
  TimeNs last_end = 0;
  for (std::uint32_t count = 1; count <= 64; count *= 2) {
    ModelConfig config;
    config.max_batch = 64;
    EngineModel model(config);
    for (std::uint32_t id = 1; id <= count; ++id) REQUIRE(model.submit(request(id, 100, 100)));
    const TimeNs end = end_of(run(model));
    const double rate = count * 100.0 / static_cast<double>(end);
    CHECK(rate > last_rate);
    CHECK(end > last_end);
    last_rate = rate;
    last_end = end;
  }
}

TEST_CASE("every decoding sequence and every token of its context lengthens the step") {
  ModelConfig config = round_costs();
  config.decode_us_per_token_in_batch = 2000;
  config.decode_us_per_context_token = 100;
  EngineModel model(config);
  REQUIRE(model.submit(request(1, 10, 2)));
  REQUIRE(model.submit(request(2, 20, 2)));
  // Prefill of 30 tokens; then 2 sequences with 11 and 21 tokens of context.
  CHECK(end_of(run(model)) == 40 * ms + 10 * ms + 4 * ms + 3200 * ms / 1000);
}

TEST_CASE("speed divides every time") {
  ModelConfig config = round_costs();
  EngineModel slow(config);
  config.speed = 10;
  EngineModel fast(config);
  REQUIRE(slow.submit(request(1, 50, 20)));
  REQUIRE(fast.submit(request(1, 50, 20)));
  CHECK(end_of(run(slow)) == 10 * end_of(run(fast)));
}

TEST_CASE("the same calls give the same events, however often the clock is looked at") {
  const auto scenario = [](TimeNs stride) {
    EngineModel model(ModelConfig{.max_batch = 8});
    std::vector<ModelEvent> events;
    for (std::uint64_t id = 1; id <= 40; ++id) {
      REQUIRE(model.submit(request(id, static_cast<std::uint32_t>(id * 37 % 900), id % 50, id * 7 * ms)));
    }
    for (TimeNs at = 0; model.counters().finished < 40; at += stride) model.step(at, events);
    return events;
  };
  const auto often = scenario(1 * ms), rarely = scenario(1000 * ms);
  REQUIRE(often.size() == rarely.size());
  for (std::size_t i = 0; i < often.size(); ++i) {
    CHECK(often[i].id == rarely[i].id);
    CHECK(often[i].at == rarely[i].at);
  }
}

TEST_CASE("cancelling a running request frees its place for the next one") {
  ModelConfig config = round_costs();
  config.max_batch = 1;
  EngineModel model(config);
  REQUIRE(model.submit(request(1, 1, 1000)));
  REQUIRE(model.submit(request(2, 1, 1)));
  std::vector<ModelEvent> events;
  model.step(11 * ms, events);
  REQUIRE(model.running() == 1);
  CHECK(model.cancel(1));
  CHECK_FALSE(model.cancel(1));
  CHECK(model.running() == 0);
  events = run(model, 11 * ms);
  CHECK(finish_order(events) == std::vector<std::uint64_t>{2});
  CHECK(std::none_of(events.begin(), events.end(), [](const ModelEvent& event) { return event.id == 1; }));
}

TEST_CASE("cancelling a waiting request takes it out of the queue") {
  ModelConfig config = round_costs();
  config.max_batch = 1;
  EngineModel model(config);
  REQUIRE(model.submit(request(1, 1, 1)));
  REQUIRE(model.submit(request(2, 7, 1)));
  CHECK(model.waiting_tokens() == 8);
  CHECK(model.cancel(2));
  CHECK(model.waiting_tokens() == 1);
  CHECK(finish_order(run(model)) == std::vector<std::uint64_t>{1});
}

TEST_CASE("a repeated prefix costs no prefill but its last token") {
  EngineModel model(round_costs());
  const std::string prompt(64 * bytes_per_token, 'x');
  ModelRequest first = request(1, 64, 1), second = request(2, 64, 1, 1000 * ms);
  first.blocks = second.blocks = block_hashes(prompt, 16);
  REQUIRE(model.submit(first));
  REQUIRE(model.submit(second));
  const auto events = run(model);
  CHECK(events.front().cached_tokens == 0);
  CHECK(events.front().at == 74 * ms);
  CHECK(events.back().cached_tokens == 63);
  CHECK(events.back().at == 1011 * ms);
}

TEST_CASE("a slowdown stretches the steps that begin after it") {
  EngineModel model(round_costs());
  REQUIRE(model.submit(request(1, 5, 3)));
  std::vector<ModelEvent> events;
  model.step(0, events);
  model.set_slowdown(3);
  events = run(model);
  CHECK(events[0].at == 15 * ms);
  CHECK(events[1].at == 45 * ms);
}

TEST_CASE("block hashes chain: a difference at the start changes all, one at the end only the last") {
  const std::string prompt(4 * 64, 'a');
  std::string early = prompt, late = prompt;
  early[0] = late[255] = 'b';
  const auto hashes = block_hashes(prompt, 16);
  REQUIRE(hashes.size() == 4);
  const auto other = block_hashes(early, 16);
  CHECK(other[0] != hashes[0]);
  CHECK(other[3] != hashes[3]);
  const auto tail = block_hashes(late, 16);
  CHECK(tail[2] == hashes[2]);
  CHECK(tail[3] != hashes[3]);
}

TEST_CASE("the prefix cache forgets the longest unused tail first and stays within its capacity") {
  LruPrefixCache cache(16, 64);  // four blocks
  const std::vector<BlockHash> old{1, 2, 3}, young{7, 8};
  cache.insert(old);
  cache.insert(young);
  CHECK(cache.used_tokens() == 64);
  CHECK(cache.cached_tokens(old) == 32);
  CHECK(cache.cached_tokens(young) == 32);
  cache.clear();
  CHECK(cache.cached_tokens(young) == 0);
}
