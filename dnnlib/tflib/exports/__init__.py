"""Generators as programs that run elsewhere: SavedModel, ONNX, LiteRT, and a web page."""
