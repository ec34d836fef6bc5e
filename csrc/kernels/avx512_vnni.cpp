// AVX-512 with VNNI: four products of bytes per 32-bit lane and instruction.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/cpu.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

// In avx512_vbmi.cpp; for processors that have it.
void map_levels_vbmi(uint8_t* levels, std::size_t count, const uint8_t* table);

namespace {

#include "kernels/generic/avx512.inl"

bool is_supported() { return cpu_features().avx512_vnni; }

void map_levels_best(uint8_t* levels, std::size_t count, const uint8_t* table) {
  static const bool has_vbmi = cpu_features().avx512_vbmi;
  has_vbmi ? map_levels_vbmi(levels, count, table) : map_levels(levels, count, table);
}

}  // namespace

extern const Kernels kAvx512VnniKernels;
const Kernels kAvx512VnniKernels = {
    "avx512_vnni", is_supported, linear_int8,     linear_float, nullptr,  attention,
    moments,       layer_norm,   map_levels_best, convert,      activate,
};

}  // namespace pruneofa
