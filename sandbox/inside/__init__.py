"""Code that runs in the zygote and in its children. Imports nothing but the standard library and `sandbox.wire`."""
