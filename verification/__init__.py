"""Programs that measure and test finelt: benchmarks, fault injection, conformance of images, sample vendors."""
