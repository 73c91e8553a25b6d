"""The runtime: bundle in, attached programs out. It knows neither lark nor LLVM."""
