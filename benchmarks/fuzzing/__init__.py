"""Parts of benchmarks/fuzz_files.py: valid files, mutations, and what must hold of every case."""
