// What the processor can do, and what the operating system lets it do.
#pragma once

namespace pruneofa {

struct CpuFeatures {
  bool avx2 = false;    // with FMA; registers of 256 bits are saved by the system
  bool avx512 = false;  // F, BW, VL, DQ; registers of 512 bits are saved by the system
  bool avx512_vnni = false;
  bool avx512_vbmi = false;
  bool avx512_bf16 = false;
  bool neon_dotprod = false;
};

// Asked once, then remembered.
const CpuFeatures& cpu_features();

}  // namespace pruneofa
