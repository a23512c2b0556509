// __half for cuda_runtime.h: conversions to and from float, rounding to nearest even.

#pragma once

#include <stdint.h>
#include <string.h>

struct __half {
    uint16_t bits;
};

inline float __half2float(__half x) {
    const uint32_t sign = (x.bits & 0x8000u) << 16, exponent = (x.bits >> 10) & 31, mantissa = x.bits & 1023;
    float y;
    if (exponent == 0) {
        y = static_cast<float>(mantissa) / (1 << 24);  // zero and subnormal numbers
        return sign ? -y : y;
    }
    const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | (mantissa << 13);
    memcpy(&y, &bits, 4);
    return y;
}

inline __half __float2half_rn(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};    // NaN
    if (bits >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};   // 65520 and more: infinity
    if (bits < 0x38800000u) {                                                  // below 2^-14: adding 0.5 rounds to 2^-24
        float y;
        memcpy(&y, &bits, 4);
        y += 0.5f;
        memcpy(&bits, &y, 4);
        return {static_cast<uint16_t>(sign | (bits - 0x3f000000u))};
    }
    bits += 0xfffu + ((bits >> 13) & 1);
    return {static_cast<uint16_t>(sign | ((bits - 0x38000000u) >> 13))};
}

struct __half2 {
    __half x, y;
};

inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline float __low2float(__half2 x) { return __half2float(x.x); }
inline float __high2float(__half2 x) { return __half2float(x.y); }
