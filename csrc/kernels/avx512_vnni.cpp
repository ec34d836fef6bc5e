// AVX-512 with VNNI: four products of bytes per 32-bit lane and instruction.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/cpu.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

namespace {

#include "kernels/generic/avx512.inl"

bool is_supported() { return cpu_features().avx512_vnni; }

}  // namespace

extern const Kernels kAvx512VnniKernels;
const Kernels kAvx512VnniKernels = {
    "avx512_vnni", is_supported, linear_int8,     linear_float, nullptr,  attention,
    moments,       layer_norm,   map_levels_best, convert,      activate,
};

}  // namespace pruneofa
