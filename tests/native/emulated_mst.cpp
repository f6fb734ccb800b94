// Trees and plans by the emulated CUDA code (src/cuda/mst/mst.cu, src/cuda/plan/plan.cu): bit by bit the
// CPU's trees, and the plans of the definition, in every order of the threads, by blocks, by clusters of
// eight blocks and of one, and by the whole device, with climbs of any length.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../../src/cuda/plan/forest.cuh"
#include "../../src/cuda/runtime/emulation.h"
#include "../../src/cuda/runtime/per_image.cuh"
#include "../../src/mst.h"
#include "../../src/plan.h"
#include "plans.h"
#include "vectors.h"

namespace {

using namespace treefilter;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Memory final : DeviceMemory {
  std::vector<emulation::Garbage> blocks;
  void* take(size_t bytes) override {
    blocks.emplace_back(bytes);
    // Memory is filled with -1, with which some arrays start.
    std::memset(blocks.back().data(), 0x5a, bytes);
    return blocks.back().data();
  }
};

Span<bool> mask_of(std::vector<char>& v) {
  return {reinterpret_cast<bool*>(v.data()), static_cast<int64_t>(v.size())};
}

std::mt19937 engine(7);
int64_t below(int64_t n) {
  return static_cast<int64_t>(engine() % static_cast<uint64_t>(n));
}

bool only_threads = false;
int failures = 0, cases = 0;
void expect(bool holds, const std::string& name, const char* what) {
  if (holds) return;
  std::printf("FAILED %s: %s\n", name.c_str(), what);
  if (++failures == 20) std::exit(1);
}

struct Trees {
  std::vector<int32_t> parent, edge, order, plan;
  std::vector<char> mask;
};

// ---- every way to run the same code ----

// Who works on an image, or on all of them.
struct Group {
  const char* name;
  int64_t for_a_block, for_a_cluster;
  int cluster_blocks;
};

// Calls run(cuda, what) for every schedule, by blocks, clusters and the whole device, with long and
// short climbs.
template <class Run>
void for_all_ways(const Run& run) {
  using emulation::Schedule;
  const Group groups[] = {{"blocks", INT64_MAX, 0, 8},
                          {"clusters of 8", 0, INT64_MAX, 8},
                          {"clusters of 1", 0, INT64_MAX, 1},
                          {"device", 0, 0, 8}};
  const int32_t climbs[] = {256, 2, 0};
  const char* names[] = {"forward", "reverse", "shuffled", "threads", "blind"};
  for (int s = 0; s < 5; ++s) {
    emulation::schedule = s == 4 ? Schedule::kForward : static_cast<Schedule>(s);
    emulation::blind = s == 4;
    for (const Group& group : groups) {
      const bool device = group.for_a_block == 0 && group.for_a_cluster == 0;
      for (int32_t climb : climbs) {
        if (only_threads && s != 3) continue;
        // Real threads take long to start.
        if (s == 3 && (cases % 4 != 0 || climb == 256 || (climb == 0) == device)) continue;
        if (s == 4 && !device) continue;
        cuda::largest_for_a_block = group.for_a_block;
        cuda::largest_for_a_cluster = group.for_a_cluster;
        cuda::cluster_blocks = group.cluster_blocks;
        cuda::longest_climb = climb;
        Memory memory;
        const std::string what =
            std::string(names[s]) + ", " + group.name + ", climbs of " + std::to_string(climb);
        run(Cuda{nullptr, &memory}, what.c_str());
      }
    }
  }
  emulation::schedule = Schedule::kForward;
  emulation::blind = false;
}

Trees room(int64_t batch, int64_t nodes, int64_t edges) {
  Trees t;
  for (auto* v : {&t.parent, &t.edge, &t.order}) v->assign(batch * nodes, -7);
  t.plan.assign(batch * PlanView::size(nodes), -7);
  t.mask.assign(batch * edges, 7);
  return t;
}

// `graph` is for CUDA; `clean` is the same graph without what the CPU rejects.
template <class AnyGraph>
void check(const std::string& name, const AnyGraph& graph, const AnyGraph& clean, int64_t nodes,
           int64_t edges, std::vector<float> weight, std::vector<int64_t> root) {
  ++cases;
  const int64_t batch = static_cast<int64_t>(root.size());
  std::vector<float> clean_weight = weight;
  std::vector<int64_t> clean_root = root;
  for (float& w : clean_weight) w = std::isnan(w) ? kInf : w;
  for (int64_t& r : clean_root) r = r < 0 || r >= nodes ? 0 : r;
  Trees cpu = room(batch, nodes, edges);
  mst(Cpu{1}, clean, view(clean_weight), view(clean_root), span(cpu.parent), span(cpu.edge),
      span(cpu.order));
  mst_edges(Cpu{1}, clean, batch, view(clean_weight), mask_of(cpu.mask));
  cpu.plan.clear();
  for (int64_t b = 0; b < batch; ++b) {
    const auto of = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + b * nodes, all.begin() + (b + 1) * nodes);
    };
    const std::vector<int32_t> plan = plan_by_definition(of(cpu.parent), of(cpu.order));
    cpu.plan.insert(cpu.plan.end(), plan.begin(), plan.end());
    std::copy_n(plan.begin(), nodes, cpu.order.begin() + b * nodes);
  }
  for_all_ways([&](const Cuda& cuda, const char* way) {
    const std::string here = name + " (" + way + ")";
    Trees t = room(batch, nodes, edges);
    mst(cuda, graph, view(weight), view(root), span(t.parent), span(t.edge), span(t.order),
        span(t.plan));
    expect(t.parent == cpu.parent, here, "parent");
    expect(t.edge == cpu.edge, here, "edge");
    expect(t.order == cpu.order, here, "order");
    expect(t.plan == cpu.plan, here, "plan");
    mst_edges(cuda, graph, batch, view(weight), mask_of(t.mask));
    expect(t.mask == cpu.mask, here, "mst_edges");
    t.plan.assign(t.plan.size(), -7);
    plan(cuda, batch, nodes, view(cpu.parent), span(t.plan));
    expect(t.plan == cpu.plan, here, "plan of parents");
  });
}

// ---- weights ----

enum class Kind { kRandom, kTies, kConstant, kRamp, kForest, kStrange, kCount };

float draw(Kind kind, int64_t i) {
  const float noise = static_cast<float>(below(1 << 20)) / (1 << 20);
  switch (kind) {
    case Kind::kRandom:
      return noise - 0.3f;
    case Kind::kTies:
      return static_cast<float>(below(3) - 1);
    case Kind::kRamp:
      return static_cast<float>(i);
    case Kind::kForest:
      return below(2) == 0 ? kInf : noise;
    case Kind::kStrange: {
      const float strange[] = {kInf, -kInf, kNan, -kNan, 0.f, -0.f, 1e-45f, -1e-45f, 3.4e38f, -3.4e38f};
      return strange[below(10)];
    }
    default:
      return 0.25f;
  }
}

std::vector<int64_t> some_roots(int64_t batch, int64_t nodes) {
  std::vector<int64_t> root(batch);
  for (int64_t& r : root) r = below(8) == 0 ? (below(2) == 0 ? -1 : nodes) : below(nodes);
  return root;
}

// ---- graphs ----

Grid grid_of(int64_t depth, int64_t height, int64_t width, int connectivity) {
  std::vector<int64_t> steps;
  const auto add = [&](int64_t z, int64_t y, int64_t x) { steps.insert(steps.end(), {z, y, x}); };
  if (connectivity == 4 || connectivity == 8) {
    add(0, 1, 0);
    add(0, 0, 1);
    if (connectivity == 8) {
      add(0, 1, 1);
      add(0, 1, -1);
    }
  } else {
    add(1, 0, 0);
    add(0, 1, 0);
    add(0, 0, 1);
    for (int64_t z = 0; z <= 1 && connectivity == 26; ++z) {
      for (int64_t y = -1; y <= 1; ++y) {
        for (int64_t x = -1; x <= 1; ++x) {
          const bool forward = z > 0 || y > 0 || (y == 0 && x > 0);
          if (forward && (z != 0) + (y != 0) + (x != 0) > 1) add(z, y, x);
        }
      }
    }
  }
  return Grid(depth, height, width, static_cast<int>(steps.size() / 3), steps.data());
}

void check_grid(const std::string& name, const Grid& grid, const std::vector<float>& weight,
                const std::vector<int64_t>& root) {
  check(name + " grid " + std::to_string(grid.depth) + "x" + std::to_string(grid.height) + "x" +
            std::to_string(grid.width) + ", " + std::to_string(grid.num_directions) + " directions",
        grid, grid, grid.num_nodes(), grid.num_edges(), weight, root);
}

void check_grid(const Grid& grid, int64_t batch) {
  for (int kind = 0; kind < static_cast<int>(Kind::kCount); ++kind) {
    std::vector<float> weight(batch * grid.num_edges());
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = draw(static_cast<Kind>(kind), i);
    check_grid("weights " + std::to_string(kind), grid, weight, some_roots(batch, grid.num_nodes()));
  }
}

// Weights whose tree is one path through all rows, back and forth.
void check_snake(int64_t height, int64_t width, bool rising) {
  const Grid grid = grid_of(1, height, width, 4);
  std::vector<float> weight(grid.num_edges());
  const int64_t vertical = grid.directions[0].first_edge == 0 ? (height - 1) * width : 0;
  for (int64_t e = 0; e < grid.num_edges(); ++e) {
    const int64_t y = e / width, x = e % width;
    const bool turn = x == (y % 2 == 0 ? width - 1 : 0);
    weight[e] = e >= vertical || turn ? (rising ? 1e-4f * static_cast<float>(e) : 0) : 1e6f;
  }
  for (int64_t root : {int64_t{0}, height * width / 2}) check_grid("snake", grid, weight, {root});
}

void check_list(const std::string& name, int64_t nodes, const std::vector<int32_t>& first,
                const std::vector<int32_t>& second, int64_t batch) {
  const int64_t edges = static_cast<int64_t>(first.size());
  std::vector<int32_t> a = first, b = second;
  for (int64_t e = 0; e < edges; ++e) {
    if (a[e] < 0 || a[e] >= nodes || b[e] < 0 || b[e] >= nodes) a[e] = b[e] = 0;
  }
  for (int kind = 0; kind < static_cast<int>(Kind::kCount); ++kind) {
    std::vector<float> weight(batch * edges);
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = draw(static_cast<Kind>(kind), i);
    check(name + " of " + std::to_string(nodes) + ", weights " + std::to_string(kind),
          EdgeList{nodes, view(first), view(second)}, EdgeList{nodes, view(a), view(b)}, nodes, edges,
          weight, some_roots(batch, nodes));
  }
}

void check_random_list(int64_t nodes, int64_t edges, int64_t batch) {
  std::vector<int32_t> first(edges), second(edges);
  for (auto* ends : {&first, &second}) {
    for (int32_t& v : *ends) {
      v = static_cast<int32_t>(below(nodes));
      if (below(64) == 0) v = below(2) == 0 ? -1 - v : static_cast<int32_t>(nodes) + v;
    }
  }
  for (int64_t e = 0; e + 1 < edges; ++e) {
    if (below(8) == 0) first[e + 1] = first[e], second[e + 1] = second[e];  // parallel edges
    if (below(16) == 0) second[e] = first[e];
  }
  check_list("random list", nodes, first, second, batch);
}

// Graphs that are trees: a star, a broom, a caterpillar, a random tree, a complete binary tree.
void check_trees(int64_t nodes) {
  for (int shape = 0; shape < 5; ++shape) {
    std::vector<int32_t> first, second;
    for (int64_t v = 1; v < nodes; ++v) {
      const int64_t above[] = {0, v < nodes / 2 ? v - 1 : nodes / 2 - 1, v % 2 == 0 ? v - 2 : v - 1,
                               below(v), (v - 1) / 2};
      first.push_back(static_cast<int32_t>(v));
      second.push_back(static_cast<int32_t>(std::max<int64_t>(0, above[shape])));
    }
    check_list("tree " + std::to_string(shape), nodes, first, second, 2);
  }
}

// ---- parents that do not form a tree ----

// The tree in the picture of src/plan.h.
void check_picture() {
  ++cases;
  const std::vector<int32_t> parent{0, 0, 0, 1, 1, 2, 3, 5, 5, 8}, order{4, 6, 3, 7, 9, 8, 1, 5, 2, 0};
  const std::vector<int32_t> up{~6, 2, ~6, ~7, 5, ~7, ~9, 8, ~9, ~9}, light_children{0, 2, 3, 5, 6, 8};
  const std::vector<int32_t> light_begin{0, 0, 0, 0, 0, 0, 0, 2, 4, 4, 6}, rounds{0, 6, 9, 10, 10};
  std::vector<int32_t> made(PlanView::size(10), -7);
  Memory memory;
  plan(Cuda{nullptr, &memory}, 1, 10, view(parent), span(made));
  const PlanView view{made.data(), 10};
  const auto same = [](const std::vector<int32_t>& a, const int32_t* b) {
    return std::equal(a.begin(), a.end(), b);
  };
  expect(same(order, view.order()) && same(up, view.up()), "the picture", "order or up");
  expect(same(light_begin, view.light_begin()) && same(light_children, view.light_children()),
         "the picture", "light children");
  expect(same(rounds, view.rounds()) && view.slots() == 10, "the picture", "rounds");
}

void check_garbage_parents(int64_t nodes, int64_t range) {
  ++cases;
  constexpr int64_t kBatch = 2;
  std::vector<int32_t> parent(kBatch * nodes), expected;
  for (int32_t& p : parent) p = static_cast<int32_t>(below(nodes + 2 * range) - range);
  const std::string name = "garbage parents of " + std::to_string(nodes);
  for_all_ways([&](const Cuda& cuda, const char* way) {
    const std::string here = name + " (" + way + ")";
    std::vector<int32_t> made(kBatch * PlanView::size(nodes), -7);
    plan(cuda, kBatch, nodes, view(parent), span(made));
    if (expected.empty()) expected = made;
    expect(made == expected, here, "not the same bits");
    for (int64_t b = 0; b < kBatch; ++b) {
      const PlanView view{made.data() + b * PlanView::size(nodes), nodes};
      const int32_t* above = parent.data() + b * nodes;
      int64_t off_cycles = 0;
      std::vector<char> cyclic(nodes, 0), seen(nodes, 0);
      for (int64_t v = 0; v < nodes; ++v) {
        int64_t at = above[v];
        for (int64_t k = 0; k < nodes && at >= 0 && at < nodes && at != v && above[at] != at; ++k) {
          at = above[at];
        }
        cyclic[v] = at == v && above[v] != v;
        off_cycles += !cyclic[v];
      }
      const int64_t slots = view.slots();
      expect(slots == off_cycles, here, "number of slots");
      for (int64_t s = 0; s < nodes; ++s) {
        const int32_t v = view.order()[s];
        expect(v >= 0 && v < nodes && !seen[v]++, here, "not a permutation");
        expect(cyclic[v] == (s >= slots), here, "a slot of a cycle");
        const int32_t up = view.up()[s], to = up < 0 ? ~up : up;
        const bool top = above[v] < 0 || above[v] >= nodes || above[v] == v || cyclic[above[v]];
        expect(to >= s && to < nodes && (s >= slots || to < slots), here, "up");
        if (s < slots) expect(top ? up == ~s : view.order()[to] == above[v], here, "not the parent");
      }
    }
  });
}

}  // namespace

int main(int count, char** arguments) {
  only_threads = count > 1 && std::strcmp(arguments[1], "race") == 0;
  const int64_t shapes[][3] = {{1, 1, 1}, {1, 1, 2}, {1, 2, 2},  {1, 1, 9},
                               {1, 9, 1}, {1, 7, 5}, {1, 16, 17}};
  for (const auto& s : shapes) {
    for (int connectivity : {4, 8}) check_grid(grid_of(s[0], s[1], s[2], connectivity), 3);
  }
  for (int connectivity : {6, 26}) {
    check_grid(grid_of(3, 4, 5, connectivity), 2);
    check_grid(grid_of(2, 1, 2, connectivity), 2);
  }
  check_grid(grid_of(1, 3, 3, 4), 0);
  check_grid(grid_of(1, 40, 50, 4), 2);
  check_grid(grid_of(1, 1, 3000, 4), 1);
  check_grid(grid_of(1, 3000, 1, 8), 1);
  check_snake(40, 30, false);
  check_snake(150, 2, true);
  for (int i = 0; i < 30; ++i) {
    check_grid(grid_of(1, 1 + below(9), 1 + below(9), i % 2 == 0 ? 4 : 8), 1 + below(3));
  }
  check_random_list(1, 3, 2);
  check_random_list(5, 0, 2);
  for (int i = 0; i < 30; ++i) check_random_list(1 + below(30), 1 + below(60), 1 + below(3));
  check_random_list(700, 1500, 2);
  check_picture();
  for (int64_t nodes : {2, 3, 6, 33, 400}) check_trees(nodes);
  for (int i = 0; i < 30; ++i) check_garbage_parents(1 + below(40), below(3));
  check_garbage_parents(500, 20);
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures == 0 ? 0 : 1;
}
