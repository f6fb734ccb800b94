// How a phased kernel is launched (src/cuda/runtime/cooperative.h), with launches that are only
// recorded.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../src/cuda/runtime/cooperative.h"

namespace {

using namespace treefilter::cuda;

int failures = 0, checks = 0;
void expect(bool holds, const char* what) {
  ++checks;
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

// The sizes that are tried on a device that can hold `fits` blocks.
std::vector<int64_t> tried(int64_t blocks, int64_t fits, bool& launched) {
  std::vector<int64_t> sizes;
  launched = launch_what_fits(blocks, [&](int64_t size) {
    sizes.push_back(size);
    return size <= fits;
  });
  return sizes;
}

void check_launches() {
  using Sizes = std::vector<int64_t>;
  bool launched = false;
  expect(tried(528, 528, launched) == Sizes{528} && launched, "all blocks fit: one launch");
  expect(tried(528, 140, launched) == Sizes{528, 264, 132} && launched, "half as many until they fit");
  expect(tried(5, 1, launched) == Sizes{5, 2, 1} && launched, "one block fits");
  expect(tried(5, 0, launched) == Sizes{5, 2, 1} && !launched, "no block fits: launches for phases");
  expect(tried(0, 528, launched).empty() && !launched, "cooperative kernels are not to be used");
}

void check_names() {
  expect(phases_by_name(nullptr) == Phases::kClusters, "the default is clusters");
  expect(phases_by_name("clusters") == Phases::kClusters, "clusters");
  expect(phases_by_name("kernel") == Phases::kKernel, "kernel");
  expect(phases_by_name("launches") == Phases::kLaunches, "launches");
  std::string message;
  try {
    phases_by_name("graph");
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  expect(message == "TREEFILTER_PHASES: expected clusters, kernel or launches, got graph",
         "the error's message");
}

}  // namespace

int main() {
  check_launches();
  check_names();
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures != 0;
}
