// Whether the inputs of an op fit together: what its kernels check before they touch memory.

#pragma once

#include <cstdint>

#include "tensorflow/core/framework/tensor.h"

namespace stylegan2 {

// Of one axis: samples of the output, or -1 if the filter does not fit into what is padded.
inline int64_t upfirdn_size(int64_t in, int64_t fir, int64_t up, int64_t down, int64_t pad0, int64_t pad1) {
    const int64_t room = in * up + pad0 + pad1 - fir;
    return room < 0 ? -1 : room / down + 1;
}

inline bool upfirdn_fits(const tensorflow::Tensor& x, const tensorflow::Tensor& k) {
    if (x.dims() != 4 || k.dims() != 2) return false;
    return k.dim_size(0) >= 1 && k.dim_size(0) <= 32 && k.dim_size(1) >= 1 && k.dim_size(1) <= 32;
}

inline bool bias_act_fits(const tensorflow::Tensor& x, const tensorflow::Tensor& b, const tensorflow::Tensor& v, int grad,
                          int64_t inner) {
    const int64_t channels = b.NumElements();
    if (channels > 0 && x.NumElements() % (channels * inner) != 0) return false;
    return grad <= 2 && (grad == 0 || v.NumElements() == x.NumElements());
}

// x of 4 axes; scale [N, C], noise [N or 1, H, W], b [C], each of which may be empty.
inline bool epilogue_fits(const tensorflow::Tensor& x, const tensorflow::Tensor& scale, const tensorflow::Tensor& noise,
                          const tensorflow::Tensor& b, bool channels_last) {
    if (x.dims() != 4) return false;
    const int row = channels_last ? 1 : 2;
    const int64_t n = x.dim_size(0), c = x.dim_size(channels_last ? 3 : 1);
    if (scale.NumElements() > 0 && !(scale.dims() == 2 && scale.dim_size(0) == n && scale.dim_size(1) == c)) return false;
    if (b.NumElements() > 0 && b.NumElements() != c) return false;
    if (noise.NumElements() == 0) return true;
    return noise.dims() == 3 && (noise.dim_size(0) == 1 || noise.dim_size(0) == n) &&
           noise.dim_size(1) == x.dim_size(row) && noise.dim_size(2) == x.dim_size(row + 1);
}

}  // namespace stylegan2
