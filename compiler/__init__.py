"""The compiler: policy text in, bundle out. Pure: it knows no kernel, no clock and no environment."""
