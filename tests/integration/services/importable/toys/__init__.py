"""Models, compilers and an engine of nothing but numpy: processes that open, compile and load them start at once."""
