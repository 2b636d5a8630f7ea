"""The parts of `penstock.streams.memory`: what a server keeps, and the rules by which it changes."""
