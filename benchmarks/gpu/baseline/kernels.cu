// The baseline's kernels (__init__.py). NVRTC compiles them, which has no headers; so does a host
// compiler with threads.h in front.
//
// Arrays of an image are one after the other; "position" is an index into its breadth-first order. All
// blocks work in lockstep: in an iteration a thread handles its next position if what that needs is
// there, and the block goes on until no thread has one left.

constexpr int kDegree = 4;  // of a vertex in a grid

extern "C" __global__ void neighbours(const int* tree, int vertices, int* count, int* neighbour) {
  const long long image = blockIdx.x;
  tree += image * (vertices - 1) * 2;
  count += image * vertices;
  neighbour += image * vertices * kDegree;
  for (int e = threadIdx.x; e < vertices - 1; e += blockDim.x) {
    const int u = tree[2 * e], v = tree[2 * e + 1];
    neighbour[u * kDegree + atomicAdd(count + u, 1)] = v;
    neighbour[v * kDegree + atomicAdd(count + v, 1)] = u;
  }
}

// From vertex 0. order: the vertex of a position; parent, child: positions.
extern "C" __global__ void breadth_first(const int* count, const int* neighbour, int vertices,
                                         int* order, int* parent, int* children, int* child) {
  __shared__ int length;
  const long long image = blockIdx.x;
  count += image * vertices;
  neighbour += image * vertices * kDegree;
  order += image * vertices;
  parent += image * vertices;
  children += image * vertices;
  child += image * vertices * kDegree;
  if (threadIdx.x == 0) {
    order[0] = 0;
    parent[0] = 0;
    length = 1;
  }
  __syncthreads();
  int mine = threadIdx.x;
  for (;;) {
    // Read before the barrier, used after it: by then those positions have been written.
    const int known = *static_cast<volatile int*>(&length);
    if (!__syncthreads_or(mine < vertices)) return;
    if (mine >= known || mine >= vertices) continue;
    const int v = order[mine], up = mine == 0 ? -1 : order[parent[mine]];
    int found = 0;
    for (int k = 0; k < count[v]; ++k) {
      const int u = neighbour[v * kDegree + k];
      if (u == up) continue;
      const int position = atomicAdd(&length, 1);
      order[position] = u;
      parent[position] = mine;
      child[mine * kDegree + found++] = position;
    }
    children[mine] = found;
    mine += blockDim.x;
  }
}

// A[p] = x[order[p]] + the sum of w[c] A[c] over the children c of p.
extern "C" __global__ void leaf_to_root(const float* x, const float* weight, const int* order,
                                        const int* children, const int* child, int vertices,
                                        volatile float* sum, volatile unsigned char* done) {
  const long long image = blockIdx.y, channel = image * gridDim.x + blockIdx.x;
  weight += image * vertices;
  order += image * vertices;
  children += image * vertices;
  child += image * vertices * kDegree;
  x += channel * vertices;
  sum += channel * vertices;
  done += channel * vertices;
  int mine = vertices - 1 - static_cast<int>(threadIdx.x);
  while (__syncthreads_or(mine >= 0)) {
    if (mine < 0) continue;
    bool ready = true;
    for (int k = 0; k < children[mine]; ++k) ready = ready && done[child[mine * kDegree + k]] != 0;
    if (!ready) continue;
    float value = x[order[mine]];
    for (int k = 0; k < children[mine]; ++k) {
      const int c = child[mine * kDegree + k];
      value += weight[c] * sum[c];
    }
    sum[mine] = value;
    __threadfence_block();
    done[mine] = 1;
    mine -= static_cast<int>(blockDim.x);
  }
}

// F[p] = w[p] F[parent of p] + (1 - w[p]²) A[p]; the same by vertex in out.
extern "C" __global__ void root_to_leaf(const float* sum, const float* weight, const int* order,
                                        const int* parent, int vertices, volatile float* total,
                                        float* out, volatile unsigned char* done) {
  const long long image = blockIdx.y, channel = image * gridDim.x + blockIdx.x;
  weight += image * vertices;
  order += image * vertices;
  parent += image * vertices;
  sum += channel * vertices;
  total += channel * vertices;
  out += channel * vertices;
  done += channel * vertices;
  int mine = threadIdx.x;
  while (__syncthreads_or(mine < vertices)) {
    if (mine >= vertices || (mine > 0 && done[parent[mine]] == 0)) continue;
    float value = sum[mine];
    if (mine > 0) {
      const float w = weight[mine];
      value = w * total[parent[mine]] + (1 - w * w) * value;
    }
    total[mine] = value;
    out[order[mine]] = value;
    __threadfence_block();
    done[mine] = 1;
    mine += static_cast<int>(blockDim.x);
  }
}

// Of each channel: what it adds to the gradient in w, from both passes of x (or of ones, which all
// channels share) and both of a gradient.
extern "C" __global__ void weight_gradient(const float* sum, const float* total, int shared,
                                           const float* gradient_sum, const float* gradient_total,
                                           const float* weight, const int* parent, int vertices,
                                           float* out) {
  const long long image = blockIdx.y, channel = image * gridDim.x + blockIdx.x;
  const long long of_x = shared ? image : channel;
  weight += image * vertices;
  parent += image * vertices;
  sum += of_x * vertices;
  total += of_x * vertices;
  gradient_sum += channel * vertices;
  gradient_total += channel * vertices;
  out += channel * vertices;
  for (int p = threadIdx.x; p < vertices; p += blockDim.x) {
    const int up = parent[p];
    const float w = weight[p], a = sum[p], g = gradient_sum[p];
    const float value = g * (total[up] - w * a) + a * (gradient_total[up] - w * g);
    out[p] = p == 0 ? 0 : value;
  }
}
