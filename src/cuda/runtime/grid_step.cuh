// Vertices and directions of a grid on the device, in int32.
#pragma once

#include "../../graph.h"

namespace treefilter::cuda {

// Where a vertex of a grid is.
struct GridPosition {
  int32_t z, y, x;

  static TREEFILTER_HD GridPosition of(int32_t v, int32_t height, int32_t width) {
    const uint32_t row = static_cast<uint32_t>(v) / static_cast<uint32_t>(width);
    const uint32_t rows = static_cast<uint32_t>(height);
    return {static_cast<int32_t>(row / rows), static_cast<int32_t>(row % rows),
            v - static_cast<int32_t>(row) * width};
  }
};

// A direction, and the difference between the numbers of an edge's two vertices.
struct GridStep : DirectionOf<int32_t> {
  int32_t offset;

  TREEFILTER_HD GridStep() : DirectionOf<int32_t>{}, offset(0) {}
  TREEFILTER_HD GridStep(const DirectionOf<int32_t>& direction, int32_t height, int32_t width)
      : DirectionOf<int32_t>(direction), offset((dz * height + dy) * width + dx) {}

  // The edge that starts, or ends, at a vertex; -1 if there is none.
  TREEFILTER_HD int32_t starting(const GridPosition& at) const {
    return starts_at(at.z, at.y, at.x) ? edge_at(at.z, at.y, at.x) : -1;
  }
  TREEFILTER_HD int32_t ending(const GridPosition& at) const {
    return starting({at.z - dz, at.y - dy, at.x - dx});
  }
};

}  // namespace treefilter::cuda
