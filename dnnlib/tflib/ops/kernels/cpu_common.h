// What the CPU kernels share: image types, arrays, the division of work.
//
// CPU kernels are compiled for this machine's processor. All that they define, but the functions of kernels.h, is in
// anonymous namespaces, so that the linker cannot let code for any processor call it in place of its own.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "kernels.h"

namespace {

// ---------------------------------------------------------------------------
// Image types, as bits that loops can convert without a call.

template <typename To, typename From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

struct Float32 {
    using Bits = float;
    static inline float load(float x) { return x; }
    static inline float store(float x) { return x; }
};

struct BFloat16 {
    using Bits = uint16_t;
    static inline float load(uint16_t x) { return bit_cast<float>(static_cast<uint32_t>(x) << 16); }
    static inline uint16_t store(float x) {  // to nearest even; NaN stays NaN
        const uint32_t bits = bit_cast<uint32_t>(x);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
    }
};

struct Float16 {
    using Bits = uint16_t;
#if defined(__F16C__)
    static inline float load(uint16_t x) { return _cvtsh_ss(x); }
    static inline uint16_t store(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__ARM_FP16_FORMAT_IEEE)
    static inline float load(uint16_t x) { return bit_cast<__fp16>(x); }
    static inline uint16_t store(float x) { return bit_cast<uint16_t>(static_cast<__fp16>(x)); }
#else  // as the instructions do it, also where numbers below 2^-126 are flushed to zero
    static inline float load(uint16_t x) {
        const uint32_t sign = (x & 0x8000u) << 16, rest = (x & 0x7fffu) << 13;
        if (rest >= 0x7c00u << 13) {  // infinite, or NaN, which becomes a quiet one
            return bit_cast<float>(sign | 0x7f800000u | rest | (rest > 0x7c00u << 13 ? 0x400000u : 0));
        }
        if (rest >= 0x0400u << 13) return bit_cast<float>(sign | (rest + (112u << 23)));
        const float least = bit_cast<float>(113u << 23);  // 2^-14, the least number that is not denormal
        return bit_cast<float>(sign | bit_cast<uint32_t>(bit_cast<float>(rest + (113u << 23)) - least));
    }
    static inline uint16_t store(float x) {
        const uint32_t bits = bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
        uint32_t result;
        if (size > 0x7f800000u) {
            result = 0x7e00u | (size >> 13 & 0x3ffu);
        } else if (size >= 0x477ff000u) {  // 65520 and above
            result = 0x7c00u;
        } else if (size < 113u << 23) {  // denormal: the addition rounds
            result = bit_cast<uint32_t>(bit_cast<float>(size) + 0.5f) - bit_cast<uint32_t>(0.5f);
        } else {
            result = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
        }
        return static_cast<uint16_t>(sign | result);
    }
#endif
};

// Calls func with an object of the image type; returns 0, or 1 for an unknown type.
template <typename Func>
inline int with_type(int32_t dtype, Func func) {
    switch (dtype) {
        case kFloat32: func(Float32()); return 0;
        case kFloat16: func(Float16()); return 0;
        case kBFloat16: func(BFloat16()); return 0;
        default: return 1;
    }
}

// ---------------------------------------------------------------------------
// std::vector of this namespace, by its allocator.

template <typename T>
struct Allocator {
    using value_type = T;
    Allocator() = default;
    template <typename U>
    Allocator(const Allocator<U>&) {}
    T* allocate(std::size_t n) {
        void* memory = std::malloc(n * sizeof(T));
        if (!memory) throw std::bad_alloc();
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, std::size_t) { std::free(memory); }
    bool operator==(const Allocator&) const { return true; }
    bool operator!=(const Allocator&) const { return false; }
};

template <typename T>
using Vector = std::vector<T, Allocator<T>>;

// ---------------------------------------------------------------------------

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Calls work(begin, end) for parts of [0, total). cost: cycles of one of them, about.
template <typename Work>
inline void parallel_for(const Parallel* parallel, int64_t total, int64_t cost, const Work& work) {
    parallel->run(
        parallel, total, cost,
        [](void* context, int64_t begin, int64_t end) { (*static_cast<const Work*>(context))(begin, end); },
        const_cast<Work*>(&work));
}

}  // namespace
