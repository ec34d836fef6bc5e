#include "kernels/cpu.hpp"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace pruneofa {
namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves zeros where there is no such leaf
  return r;
}

// XCR0: which registers the system saves when it switches threads. Only with OSXSAVE may it be asked.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

constexpr bool bit(uint32_t word, int index) { return (word >> index) & 1; }

CpuFeatures detect() {
  CpuFeatures features;
  const Registers basic = cpuid(1, 0);
  const bool os_saves = bit(basic.ecx, 27);
  if (!os_saves) return features;
  const uint64_t saved = saved_state();
  const bool saves_ymm = (saved & 0x6) == 0x6;
  const bool saves_zmm = (saved & 0xE6) == 0xE6;
  const Registers extended = cpuid(7, 0);
  features.avx2 = saves_ymm && bit(basic.ecx, 12) && bit(basic.ecx, 28) && bit(extended.ebx, 5);
  features.avx512 = features.avx2 && saves_zmm && bit(extended.ebx, 16) && bit(extended.ebx, 17) &&
                    bit(extended.ebx, 30) && bit(extended.ebx, 31);
  features.avx512_vbmi = features.avx512 && bit(extended.ecx, 1);
  features.avx512_vnni = features.avx512 && bit(extended.ecx, 11);
  features.avx512_bf16 = features.avx512 && extended.eax >= 1 && bit(cpuid(7, 1).eax, 5);
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)

CpuFeatures detect() {
  CpuFeatures features;
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  features.neon_dotprod = (getauxval(AT_HWCAP) & kAsimdDp) != 0;
  return features;
}

#else

CpuFeatures detect() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace pruneofa
