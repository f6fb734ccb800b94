// The baseline's minimum spanning trees: Borůvka's algorithm, one thread per image.
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

namespace {

int32_t find(std::vector<int32_t>& parent, int32_t v) {
  while (parent[v] != v) v = parent[v] = parent[parent[v]];
  return v;
}

// Of equal weights the edge of the lower number is the lighter one, so that the tree is unique.
void spanning_tree(const int32_t* ends, const float* weight, int32_t vertices, int32_t edges,
                   int32_t* tree) {
  std::vector<int32_t> parent(vertices), lightest(vertices);
  std::iota(parent.begin(), parent.end(), 0);
  int32_t found = 0;
  for (bool joined = true; joined && found < vertices - 1;) {
    joined = false;
    std::fill(lightest.begin(), lightest.end(), -1);
    for (int32_t e = 0; e < edges; ++e) {
      const int32_t roots[2] = {find(parent, ends[2 * e]), find(parent, ends[2 * e + 1])};
      if (roots[0] == roots[1]) continue;
      for (const int32_t root : roots) {
        if (lightest[root] < 0 || weight[e] < weight[lightest[root]]) lightest[root] = e;
      }
    }
    for (int32_t v = 0; v < vertices; ++v) {
      const int32_t e = lightest[v];
      if (e < 0) continue;
      const int32_t a = find(parent, ends[2 * e]), b = find(parent, ends[2 * e + 1]);
      if (a == b) continue;
      parent[a] = b;
      tree[2 * found] = ends[2 * e];
      tree[2 * found + 1] = ends[2 * e + 1];
      ++found;
      joined = true;
    }
  }
}

}  // namespace

// ends (E, 2), weight (B, E), tree (B, N - 1, 2). The graph must be connected.
extern "C" void spanning_trees(const int32_t* ends, const float* weight, int32_t batch, int32_t vertices,
                               int32_t edges, int32_t* tree) {
  std::vector<std::thread> threads;
  for (int64_t b = 0; b < batch; ++b) {
    threads.emplace_back(spanning_tree, ends, weight + b * edges, vertices, edges,
                         tree + b * (vertices - 1) * 2);
  }
  for (std::thread& thread : threads) thread.join();
}
