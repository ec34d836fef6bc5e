// A table of 256 bytes in four registers, looked up 64 at a time.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace pruneofa {

void map_levels_vbmi(uint8_t* levels, std::size_t count, const uint8_t* table) {
  const __m512i first = _mm512_loadu_si512(table), second = _mm512_loadu_si512(table + 64);
  const __m512i third = _mm512_loadu_si512(table + 128), fourth = _mm512_loadu_si512(table + 192);
  std::size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i level = _mm512_loadu_si512(levels + i);
    const __m512i low = _mm512_permutex2var_epi8(first, level, second);
    const __m512i high = _mm512_permutex2var_epi8(third, level, fourth);
    _mm512_storeu_si512(levels + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(level), low, high));
  }
  for (; i < count; ++i) levels[i] = table[levels[i]];
}

}  // namespace pruneofa
