#include "engine/faults.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using tidegate::engine::choose_fault;
using tidegate::engine::Fault;
using tidegate::engine::Faults;

namespace {

std::vector<Fault> fates(Faults faults, std::uint64_t seed, std::uint64_t count) {
  std::vector<Fault> chosen;
  for (std::uint64_t number = 1; number <= count; ++number)
    chosen.push_back(choose_fault(faults, seed, number));
  return chosen;
}

}  // namespace

TEST_CASE("the same seed gives every request the same fate") {
  Faults faults;
  faults.hang = 0.3;
  faults.reset = 0.2;
  CHECK(fates(faults, 7, 200) == fates(faults, 7, 200));
  CHECK(fates(faults, 7, 200) != fates(faults, 8, 200));
}

TEST_CASE("a rate is met in the long run") {
  Faults faults;
  faults.status_rate = 0.25;
  int hit = 0;
  for (const Fault fault : fates(faults, 1, 10'000)) hit += fault == Fault::status;
  CHECK(hit > 2300);
  CHECK(hit < 2700);
}

TEST_CASE("`times` limits how many requests get a fault") {
  Faults faults;
  faults.hang = 1;
  faults.times = 2;
  CHECK(fates(faults, 1, 4) == std::vector<Fault>{Fault::hang, Fault::hang, Fault::none, Fault::none});
}

TEST_CASE("an unknown fault is refused with the list of those known") {
  Faults faults;
  const std::string problem = faults.set("hnag", "1");
  CHECK(problem.find("unknown fault 'hnag'") != std::string::npos);
  CHECK(problem.find("hang_body") != std::string::npos);
}

TEST_CASE("a value out of range is refused with the range") {
  Faults faults;
  CHECK(faults.set("hang", "1.5") == "fault 'hang': expected a number from 0 to 1, found '1.5'");
  CHECK(faults.set("hang", "often") == "fault 'hang': expected a number from 0 to 1, found 'often'");
}

TEST_CASE("JSON sets what it names, and nothing if one member is wrong") {
  Faults faults;
  CHECK(faults.set_json(R"({"stall": true, "after": 5})").empty());
  CHECK(faults.stall == 1);
  CHECK(faults.after == 5);
  CHECK_FALSE(faults.set_json(R"({"after": 9, "slow": -1})").empty());
  CHECK(faults.after == 5);
}

TEST_CASE("the JSON that is printed can be read again") {
  Faults faults;
  faults.close = 0.5;
  faults.refuse = true;
  Faults other;
  CHECK(other.set_json(faults.to_json()).empty());
  CHECK(other.to_json() == faults.to_json());
}
