// What stands between the matrix products of a decode step on a CPU, one call each and every value read once.
//
// Attention reads keys and values where they lie in the pool, block by block, and the queries that share a key head
// together, so that it runs at the speed of memory. Vectors are 16 floats: one AVX-512 register, two of AVX2 or four of
// NEON; the compiler splits them. Everything is float32.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

namespace {

constexpr int LANES = 16;
typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Half __attribute__((vector_size(2 * LANES)));
typedef float Quarter __attribute__((vector_size(LANES)));

inline Vec load(const float* from) {
  Vec value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void store(float* to, Vec value) { std::memcpy(to, &value, sizeof(value)); }

inline float sum(Vec value) {
  Half low, high;
  std::memcpy(&low, &value, sizeof(low));
  std::memcpy(&high, reinterpret_cast<const char*>(&value) + sizeof(low), sizeof(high));
  const Half both = low + high;
  Quarter a, b;
  std::memcpy(&a, &both, sizeof(a));
  std::memcpy(&b, reinterpret_cast<const char*>(&both) + sizeof(a), sizeof(b));
  a += b;
  return (a[0] + a[2]) + (a[1] + a[3]);
}

// Keys and values of one layer, (blocks, key heads, block size, dim) each, and the blocks of one row.
struct Cache {
  const float* keys;
  const float* values;
  int64_t heads, block_size, key_dim, value_dim;
};

// Calls f(token, place, count, next) for each run of tokens [first, length) that lies in one block; `token` counts from
// `first`, and `place` is where the run starts and `next` where the one after it will, -1 behind the last.
template <typename F>
inline void by_block(const Cache& cache, const int64_t* table, int64_t head, int64_t first, int64_t length, F f) {
  const auto start = [&](int64_t block) { return (table[block] * cache.heads + head) * cache.block_size; };
  for (int64_t token = first; token < length;) {
    const int64_t block = token / cache.block_size, offset = token % cache.block_size;
    const int64_t count = std::min(cache.block_size - offset, length - token);
    f(token - first, start(block) + offset, count, token + count < length ? start(block + 1) : -1);
    token += count;
  }
}

// Asks for the D numbers at `from`, to be there a block later: the processor's own prefetching ends where a block does.
template <int D>
inline void fetch(const float* from) {
  for (int d = 0; d < D; d += LANES) __builtin_prefetch(from + d);
}

// Weights (G, n), in place of scores: softmax without its division; returns 1 / total of each in `scale`.
template <int G>
inline void exponentials(float* scores, int64_t n, float* inverse) {
  for (int g = 0; g < G; ++g) {
    float* row = scores + g * n;
    float top = row[0];
    for (int64_t i = 1; i < n; ++i) top = std::max(top, row[i]);
    float total = 0;
    for (int64_t i = 0; i < n; ++i) {
      row[i] = std::exp(row[i] - top);
      total += row[i];
    }
    inverse[g] = 1 / total;
  }
}

// G queries of one row that share key head `head`, of D dimensions, a multiple of the vector's.
template <int D, int G>
void attend(const Cache& cache, const int64_t* table, int64_t head, int64_t first, int64_t length, const float* query,
            int64_t query_stride, float scaling, float* scores, float* output) {
  constexpr int N = D / LANES;
  const int64_t n = length - first;
  Vec q[G][N];
  for (int g = 0; g < G; ++g)
    for (int j = 0; j < N; ++j) q[g][j] = load(query + g * query_stride + j * LANES) * scaling;
  const int64_t values_start = (table[first / cache.block_size] * cache.heads + head) * cache.block_size;
  by_block(cache, table, head, first, length, [&](int64_t at, int64_t place, int64_t count, int64_t next) {
    const float* key = cache.keys + place * D;
    const float* ahead = next < 0 ? cache.values + values_start * D : cache.keys + next * D;
    for (int64_t i = 0; i < count; ++i, key += D, ahead += D) {
      fetch<D>(ahead);
      Vec k[N];
      for (int j = 0; j < N; ++j) k[j] = load(key + j * LANES);
      for (int g = 0; g < G; ++g) {
        Vec dot = q[g][0] * k[0];
        for (int j = 1; j < N; ++j) dot += q[g][j] * k[j];
        scores[g * n + at + i] = sum(dot);
      }
    }
  });
  float inverse[G];
  exponentials<G>(scores, n, inverse);
  Vec mixed[G][N] = {};
  by_block(cache, table, head, first, length, [&](int64_t at, int64_t place, int64_t count, int64_t next) {
    const float* value = cache.values + place * D;
    const float* ahead = cache.values + std::max(next, place) * D;
    for (int64_t i = 0; i < count; ++i, value += D, ahead += D) {
      fetch<D>(ahead);
      Vec v[N];
      for (int j = 0; j < N; ++j) v[j] = load(value + j * LANES);
      for (int g = 0; g < G; ++g)
        for (int j = 0; j < N; ++j) mixed[g][j] += scores[g * n + at + i] * v[j];
    }
  });
  for (int g = 0; g < G; ++g)
    for (int j = 0; j < N; ++j) store(output + g * D + j * LANES, mixed[g][j] * inverse[g]);
}

// The same for one query of any dimensions.
void attend_any(const Cache& cache, const int64_t* table, int64_t head, int64_t first, int64_t length,
                const float* query, float scaling, float* scores, float* output) {
  by_block(cache, table, head, first, length, [&](int64_t at, int64_t place, int64_t count, int64_t) {
    const float* key = cache.keys + place * cache.key_dim;
    for (int64_t i = 0; i < count; ++i, key += cache.key_dim) {
      float dot = 0;
      for (int64_t d = 0; d < cache.key_dim; ++d) dot += query[d] * key[d];
      scores[at + i] = dot * scaling;
    }
  });
  float inverse;
  exponentials<1>(scores, length - first, &inverse);
  std::fill(output, output + cache.value_dim, 0.0f);
  by_block(cache, table, head, first, length, [&](int64_t at, int64_t place, int64_t count, int64_t) {
    const float* value = cache.values + place * cache.value_dim;
    for (int64_t i = 0; i < count; ++i, value += cache.value_dim)
      for (int64_t d = 0; d < cache.value_dim; ++d) output[d] += scores[at + i] * inverse * value[d];
  });
}

using Attend = void (*)(const Cache&, const int64_t*, int64_t, int64_t, int64_t, const float*, int64_t, float, float*,
                        float*);

template <int D>
Attend of_size(int64_t queries) {
  static constexpr Attend sizes[] = {attend<D, 1>, attend<D, 2>, attend<D, 3>, attend<D, 4>};
  return sizes[queries - 1];
}

// What attends with `queries` (1 to 4) queries of `dim` dimensions at once; null for a size not compiled.
Attend specialised(int64_t dim, int64_t queries) {
  switch (dim) {
    case 32: return of_size<32>(queries);
    case 64: return of_size<64>(queries);
    case 80: return of_size<80>(queries);
    case 96: return of_size<96>(queries);
    case 128: return of_size<128>(queries);
    default: return nullptr;
  }
}

// Raises unless all of `numbers`, named `what`, are in [low, high): a number beyond would read or write foreign memory.
void check_within(const int64_t* numbers, int64_t count, int64_t low, int64_t high, const char* what) {
  for (int64_t i = 0; i < count; ++i)
    TORCH_CHECK(low <= numbers[i] && numbers[i] < high, what, " ", i, " is ", numbers[i], "; expected ", low,
                " to less than ", high);
}

// Raises unless `keys` and `values` are pools of one layer: (blocks, key heads, block size, dim), the last apart.
void check_pools(const at::Tensor& keys, const at::Tensor& values) {
  TORCH_CHECK(keys.dim() == 4 && values.dim() == 4 && keys.is_contiguous() && values.is_contiguous() &&
                  keys.numel() > 0 && values.numel() > 0 && keys.sizes().slice(0, 3) == values.sizes().slice(0, 3),
              "keys of the pool are ", keys.sizes(), " and values ", values.sizes());
}

// Attention of one new token a row. query (rows, heads, key dim); keys (blocks, key heads, block size, key dim) and
// values (..., value dim); table (rows, width) the blocks of each row in order; lengths (rows,) tokens so far, the new
// one included; window: how many of the last tokens are seen, 0 for all. Returns (rows, heads, value dim).
at::Tensor decode_attention(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                            const at::Tensor& table, const at::Tensor& lengths, double scaling, int64_t window) {
  check_pools(keys, values);
  TORCH_CHECK(query.dim() == 3 && table.dim() == 2 && table.is_contiguous() && table.size(0) == query.size(0) &&
                  lengths.is_contiguous() && lengths.numel() == query.size(0) &&
                  query.size(1) % keys.size(1) == 0 && query.size(2) == keys.size(3),
              "query is ", query.sizes(), ", keys ", keys.sizes(), ", table ", table.sizes(), " and lengths ",
              lengths.sizes());
  const auto q = query.stride(2) == 1 ? query : query.contiguous();
  const int64_t rows = q.size(0), heads = q.size(1), key_heads = keys.size(1), group = heads / key_heads;
  const Cache cache{keys.const_data_ptr<float>(), values.const_data_ptr<float>(), key_heads, keys.size(2),
                    keys.size(3), values.size(3)};
  auto output = at::empty({rows, heads, cache.value_dim}, q.options());
  const float* queries = q.const_data_ptr<float>();
  float* out = output.mutable_data_ptr<float>();
  const int64_t* blocks = table.const_data_ptr<int64_t>();
  const int64_t* ends = lengths.const_data_ptr<int64_t>();
  check_within(ends, rows, 1, table.size(1) * cache.block_size + 1, "length");
  for (int64_t row = 0; row < rows; ++row)
    check_within(blocks + row * table.size(1), (ends[row] - 1) / cache.block_size + 1, 0, keys.size(0), "block");
  const bool same = cache.key_dim == cache.value_dim;
  int64_t longest = 0;
  for (int64_t row = 0; row < rows; ++row) longest = std::max(longest, ends[row]);
  const int64_t grain = std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, longest * cache.key_dim * group));
  at::parallel_for(0, rows * key_heads, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(4 * longest);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / key_heads, head = task % key_heads, length = ends[row];
      const int64_t first = window > 0 ? std::max<int64_t>(0, length - window) : 0;
      for (int64_t g = 0; g < group;) {
        int64_t count = std::min<int64_t>(4, group - g);
        const float* from = queries + row * q.stride(0) + (head * group + g) * q.stride(1);
        float* to = out + (row * heads + head * group + g) * cache.value_dim;
        const Attend attend_some = same ? specialised(cache.key_dim, count) : nullptr;
        if (attend_some) {
          attend_some(cache, blocks + row * table.size(1), head, first, length, from, q.stride(1), scaling,
                      scores.data(), to);
        } else {
          count = 1;
          attend_any(cache, blocks + row * table.size(1), head, first, length, from, scaling, scores.data(), to);
        }
        g += count;
      }
    }
  });
  return output;
}

// Writes new keys and values (tokens, key heads, dim) into the pool: token i at `offsets[i]` of block `blocks[i]`.
void write_cache(const at::Tensor& key, const at::Tensor& value, at::Tensor keys, at::Tensor values,
                 const at::Tensor& blocks, const at::Tensor& offsets) {
  check_pools(keys, values);
  for (const auto& [source, pool] : {std::make_pair(key, keys), std::make_pair(value, values)})
    TORCH_CHECK(source.dim() == 3 && source.size(0) == blocks.numel() && source.size(0) == offsets.numel() &&
                    source.size(1) == pool.size(1) && source.size(2) == pool.size(3) && blocks.is_contiguous() &&
                    offsets.is_contiguous(),
                "new keys or values are ", source.sizes(), ", the pool's ", pool.sizes(), ", and there are places for ",
                blocks.numel(), " tokens");
  const int64_t* block = blocks.const_data_ptr<int64_t>();
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  check_within(block, blocks.numel(), 0, keys.size(0), "block");
  check_within(offset, offsets.numel(), 0, keys.size(2), "offset");
  for (auto [source, pool] : {std::make_pair(key, keys), std::make_pair(value, values)}) {
    const auto from = source.stride(2) == 1 ? source : source.contiguous();
    const int64_t tokens = from.size(0), heads = from.size(1), dim = from.size(2), size = pool.size(2);
    const float* data = from.const_data_ptr<float>();
    float* to = pool.mutable_data_ptr<float>();
    at::parallel_for(0, tokens, std::max<int64_t>(1, (1 << 15) / (heads * dim)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t head = 0; head < heads; ++head)
          std::memcpy(to + ((block[i] * heads + head) * size + offset[i]) * dim,
                      data + i * from.stride(0) + head * from.stride(1), dim * sizeof(float));
    });
  }
}

// hidden / rms(hidden) * weight over the last dimension.
at::Tensor rms_norm(const at::Tensor& hidden, const at::Tensor& weight, double epsilon) {
  TORCH_CHECK(hidden.dim() > 0 && hidden.size(-1) == weight.numel() && weight.numel() > 0, "hidden is ",
              hidden.sizes(), " and weight is ", weight.sizes());
  const auto input = hidden.contiguous(), weights = weight.contiguous();
  auto output = at::empty_like(input);
  const int64_t size = weights.numel();
  const float *in = input.const_data_ptr<float>(), *scale = weights.const_data_ptr<float>();
  float* out = output.mutable_data_ptr<float>();
  at::parallel_for(0, input.numel() / size, std::max<int64_t>(1, (1 << 15) / size), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = in + row * size;
      float* y = out + row * size;
      float total = 0;
      for (int64_t i = 0; i < size; ++i) total += x[i] * x[i];
      const float inverse = 1 / std::sqrt(total / size + static_cast<float>(epsilon));
      for (int64_t i = 0; i < size; ++i) y[i] = x[i] * inverse * scale[i];
    }
  });
  return output;
}

// One of queries and keys (1, heads, tokens, dim), rotated by halves with cos and sin (1, tokens, dim).
at::Tensor rotated(const at::Tensor& states, const at::Tensor& cos, const at::Tensor& sin) {
  const auto input = states.stride(3) == 1 ? states : states.contiguous();
  const int64_t heads = input.size(1), tokens = input.size(2), dim = input.size(3), half = dim / 2;
  auto output = at::empty({1, tokens, heads, dim}, input.options());
  const float* in = input.const_data_ptr<float>();
  const float *c = cos.const_data_ptr<float>(), *s = sin.const_data_ptr<float>();
  float* out = output.mutable_data_ptr<float>();
  at::parallel_for(0, tokens, std::max<int64_t>(1, (1 << 15) / (heads * dim)), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const float *a = c + token * dim, *b = s + token * dim;
      for (int64_t head = 0; head < heads; ++head) {
        const float* x = in + head * input.stride(1) + token * input.stride(2);
        float* y = out + (token * heads + head) * dim;
        for (int64_t d = 0; d < half; ++d) {
          y[d] = x[d] * a[d] - x[d + half] * b[d];
          y[d + half] = x[d + half] * a[d + half] + x[d] * b[d + half];
        }
      }
    }
  });
  return output.transpose(1, 2);
}

std::tuple<at::Tensor, at::Tensor> rotate(const at::Tensor& query, const at::Tensor& key, const at::Tensor& cos,
                                          const at::Tensor& sin) {
  const auto c = cos.contiguous(), s = sin.contiguous();
  for (const auto& states : {query, key})
    TORCH_CHECK(states.dim() == 4 && states.size(0) == 1 && states.numel() > 0 && states.size(3) % 2 == 0 &&
                    c.sizes() == at::IntArrayRef({1, states.size(2), states.size(3)}) && s.sizes() == c.sizes(),
                "states are ", states.sizes(), ", cos ", c.sizes(), " and sin ", s.sizes());
  return {rotated(query, c, s), rotated(key, c, s)};
}

// silu(gate) * up, element by element.
at::Tensor silu_multiply(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes(), "gate is ", gate.sizes(), " and up is ", up.sizes());
  const auto g = gate.contiguous(), u = up.contiguous();
  auto output = at::empty_like(g);
  const float *a = g.const_data_ptr<float>(), *b = u.const_data_ptr<float>();
  float* out = output.mutable_data_ptr<float>();
  at::parallel_for(0, g.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    // Bounded, since fast-math divides by way of a reciprocal, which makes NaN of an infinite exponential.
    for (int64_t i = begin; i < end; ++i) out[i] = a[i] / (1 + std::exp(std::min(-a[i], 80.0f))) * b[i];
  });
  return output;
}

}  // namespace

TORCH_LIBRARY(rethink, library) {
  library.def("decode_attention(Tensor query, Tensor keys, Tensor values, Tensor table, Tensor lengths, float scaling, "
              "int window) -> Tensor");
  library.def("write_cache(Tensor key, Tensor value, Tensor(a!) keys, Tensor(b!) values, Tensor blocks, "
              "Tensor offsets) -> ()");
  library.def("rms_norm(Tensor hidden, Tensor weight, float epsilon) -> Tensor");
  library.def("rotate(Tensor query, Tensor key, Tensor cos, Tensor sin) -> (Tensor, Tensor)");
  library.def("silu_multiply(Tensor gate, Tensor up) -> Tensor");
}

TORCH_LIBRARY_IMPL(rethink, CPU, library) {
  library.impl("decode_attention", &decode_attention);
  library.impl("write_cache", &write_cache);
  library.impl("rms_norm", &rms_norm);
  library.impl("rotate", &rotate);
  library.impl("silu_multiply", &silu_multiply);
}
